"""The state of an optimiser as tensors by name, for a checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["kept_optimizer", "restore_optimizer"]


def kept_optimizer(optimizer: torch.optim.Optimizer, prefix: str = "optimizer") -> tuple[dict[str, Tensor], Any]:
    """Copies of the tensors by name, each with the prefix, and what else there is, as JSON holds it."""
    kept = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in kept["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}.{index}.{name}"] = value.detach().clone()
            else:
                scalars.setdefault(str(index), {})[name] = value
    return tensors, {"groups": kept["param_groups"], "scalars": scalars}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], rest: Any) -> None:
    """Gives back what :func:`kept_optimizer` kept; the tensors' names without the prefix."""
    state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in rest["scalars"].items()}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        # A copy: the optimiser works in place, and the checkpoint must stay what it is.
        state.setdefault(int(index), {})[key] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": rest["groups"]})

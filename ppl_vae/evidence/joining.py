"""The result of all data from those of consecutive blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from ppl_vae.evidence.estimate import Estimate

__all__ = ["join_fields"]


def join_fields(parts: Sequence[Any]) -> dict[str, Any]:
    """The fields of a dataclass for all data from those for consecutive blocks; what is no value per datum is kept."""

    def joined(values: list[Any]) -> Any:  # a field of a dataclass
        values = [value for value in values if value is not None]
        if not values:
            return None
        if isinstance(values[0], Estimate):
            return Estimate.join(values)
        if isinstance(values[0], Tensor):
            return torch.cat(values)
        if isinstance(values[0], dict):
            names = [name for name in values[0] if all(name in value for value in values)]
            return {name: joined([value[name] for value in values]) for name in names}
        return values[0]

    return {each.name: joined([getattr(part, each.name) for part in parts]) for each in fields(parts[0])}

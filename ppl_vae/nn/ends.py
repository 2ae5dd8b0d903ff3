"""The last layers of a network, and the constants at which its outputs begin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Ends", "ends", "start_constant"]

Ends = tuple[list[Tensor], Tensor]
"""What becomes zero where outputs are constant, outputs first: weights, or a second bias; and a bias of each output."""


def ends(network: nn.Module) -> Ends:
    """The last layers of a network: its ``ends``, or the last linear layer among its parts."""
    own = getattr(network, "ends", None)
    if own is not None:
        result: Ends = own()
        return result
    last = [part for part in network.modules() if isinstance(part, nn.Linear)][-1]
    return [last.weight], last.bias


def start_constant(network: nn.Module, outputs: slice, value: Tensor | float = 0.0) -> None:
    """Lets outputs of a network begin at constants, the same for all data: their weights become zero.

    Arguments:
        network: The network.
        outputs: Which outputs.
        value: The constants, ``(outputs,)``, or one for all.
    """
    weights, bias = ends(network)
    with torch.no_grad():
        for weight in weights:
            weight[outputs] = 0
        bias[outputs] = torch.as_tensor(value, dtype=bias.dtype, device=bias.device)

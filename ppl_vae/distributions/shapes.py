"""Shapes of batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["broadcast_shapes", "side_by_side"]


@lru_cache(maxsize=2**12)
def broadcast_shapes(*shapes: torch.Size) -> torch.Size:
    """``torch.broadcast_shapes``, which takes longer than the log-density of a small batch, once for the same shapes.

    Example:
        >>> broadcast_shapes(torch.Size([5, 1]), torch.Size([3]))
        torch.Size([5, 3])
    """
    return torch.Size(torch.broadcast_shapes(*shapes))


def side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """``torch.cat`` along the last dimension; a single part itself."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), -1)

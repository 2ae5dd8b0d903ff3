"""Shapes of batches."""

from __future__ import annotations

from functools import lru_cache

import torch

__all__ = ["broadcast_shapes"]


@lru_cache(maxsize=2**12)
def broadcast_shapes(*shapes: torch.Size) -> torch.Size:
    """``torch.broadcast_shapes``, which takes longer than the log-density of a small batch, once for the same shapes.

    Example:
        >>> broadcast_shapes(torch.Size([5, 1]), torch.Size([3]))
        torch.Size([5, 3])
    """
    return torch.Size(torch.broadcast_shapes(*shapes))

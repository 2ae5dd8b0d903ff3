"""Statistics of all data in passes that hold a block of them in memory, where they stay on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

__all__ = ["blocks", "classes", "extremes", "is_binary", "largest_row", "missing_row", "moments"]


def blocks(x: Tensor) -> Iterator[Tensor]:
    """The data in order: all at once where they are in memory."""
    of_disk: Callable[[], Iterator[Tensor]] | None = getattr(x, "blocks", None)
    return iter((x,)) if of_disk is None else of_disk()


def extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and the largest of each number of a datum, ``shape`` each; NaN where one is missing.

    Example:
        >>> extremes(torch.tensor([[0.0, 1.0], [0.0, 2.0]]))
        (tensor([0., 1.]), tensor([0., 2.]))
    """
    low, high = zip(*((block.amin(0), block.amax(0)) for block in blocks(x)), strict=True)
    return (low[0], high[0]) if len(low) == 1 else (torch.stack(low).amin(0), torch.stack(high).amax(0))


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each number of a datum over the data, ``shape`` each, float64.

    Example:
        >>> moments(torch.tensor([[0.0, 1.0], [0.0, 3.0]]))
        (tensor([0., 2.], dtype=torch.float64), tensor([0., 1.], dtype=torch.float64))
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for block in blocks(x):
        of_block, var = block.double().mean(0), block.double().var(0, correction=0)
        whole = count + len(block)
        if not count:
            mean, squares = of_block, var * len(block)
        else:  # Chan, Golub and LeVeque 1983, eq. 2.1
            off = of_block - mean
            mean = mean + off * (len(block) / whole)
            squares = squares + var * len(block) + off.square() * (count * len(block) / whole)
        count = whole
    return mean, squares / count


def is_binary(x: Tensor) -> bool:
    """Whether all numbers are 0 or 1."""
    return all(bool(((block == 0) | (block == 1)).all()) for block in blocks(x))


def classes(x: Tensor) -> int | None:
    """One more than the largest of whole numbers from 0; None of other numbers."""
    if x.is_floating_point() or not x.numel():
        return None
    low, high = extremes(x)
    return int(high.max()) + 1 if low.min() >= 0 else None


def largest_row(x: Tensor) -> int:
    """The first datum with the largest of all numbers."""
    start, best, row = 0, -torch.inf, 0
    for block in blocks(x):
        values = block.reshape(len(block), -1).amax(1).float()  # there is no argmax of truth values
        if (largest := values.max().item()) > best:
            best, row = largest, start + int(values.argmax())
        start += len(block)
    return row


def missing_row(x: Tensor) -> int | None:
    """The first datum with NaN; None if there is none."""
    start = 0
    for block in blocks(x):
        missing = block.reshape(len(block), -1).isnan().any(1)
        if missing.any():
            return start + int(missing.byte().argmax())
        start += len(block)
    return None

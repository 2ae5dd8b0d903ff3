"""Location and spread of each number of the data, by which encoders read them and decoders write them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["FEWEST", "is_near_unit", "location_and_spread"]

FEWEST = 16
"""Smallest number of data that tell a spread."""

WIDEST = 8.0
"""Largest range of a number in units of its spread: one that is rarely other than zero would else be huge there."""

ENDS, SHARE, LEAST = 0.01, 0.25, 0.1
"""Numbers have one unit if a quarter of them reach both ends of the range of all, within a hundredth of it; none is
then read in units below a tenth of their common spread."""

NEAR = 10.0
"""Factor by which numbers may differ from a mean of 0 and a deviation of 1 where networks begin there."""


def is_near_unit(location: Tensor, spread: Tensor) -> bool:
    """Whether a network whose outputs begin near 0 and move by 1 serves numbers of this location and spread."""
    return bool(location.abs().max() <= NEAR and spread.max() <= NEAR and spread.min() >= 1 / NEAR)


def location_and_spread(x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean and spread of each number over a batch, ``(numbers,)`` each.

    The spread is the standard deviation, or an eighth of the range where that is more. Numbers that are constant in the
    batch have the median spread of the others, for the data that are to come; those of images have one spread for all
    pixels, since in dark corners there is nothing but noise; flat ones, told by the range that many of at least 16
    numbers share, have a tenth of that at the least. Values that are missing (NaN) are left out.

    Arguments:
        x: The data, ``(data, numbers)``, or images ``(data, ..., height, width)``.

    Example:
        >>> [value.tolist() for value in location_and_spread(torch.tensor([[1e4, 2.0], [3e4, 2.0]]))]
        [[20000.0, 2.0], [10000.0, 10000.0]]
    """
    kind = torch.get_default_dtype()
    numbers = x.reshape(len(x), -1).double()
    location = numbers.nanmean(0).nan_to_num()
    away = (numbers - location).nan_to_num()
    spread = away.square().mean(0).sqrt()
    if x.ndim > 2:
        spread = spread.square().mean().sqrt().expand_as(spread)
    else:
        spread = spread.maximum((away.amax(0) - away.amin(0)) / WIDEST)
        if _is_one_unit(location + away):
            spread = spread.clamp(min=LEAST * spread.square().mean().sqrt().item())
    # Rounding leaves constants with a spread.
    varied = spread > 1e-7 * location.abs()
    spread = torch.where(varied, spread, spread[varied].median() if varied.any() else 1.0)
    return location.to(kind), spread.to(kind)


def _is_one_unit(numbers: Tensor) -> bool:
    """Whether numbers ``(data, numbers)`` are in one unit, as the pixels of flat images, and not columns of a table."""
    low, high = numbers.amin(0), numbers.amax(0)
    near = ENDS * (high.max() - low.min())
    shared = (low <= low.min() + near) & (high >= high.max() - near)
    return len(shared) >= FEWEST and shared.double().mean().item() >= SHARE

"""What 32-bit floats leave of data."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.passes import extremes, moments

__all__ = ["FEW_STEPS", "lost", "steps_per_deviation"]

FEW_STEPS = 100
"""Steps of 32-bit floats in a standard deviation below which a density is mostly rounding."""

NOISE = 64
"""Steps of 64-bit floats within which numbers differ by how they were computed."""


def steps_per_deviation(x: Tensor) -> Tensor:
    """Steps between neighbouring 32-bit floats in a standard deviation of each number, ``shape``; infinite if constant.

    A log-density errs by about the inverse of it for each number.

    Arguments:
        x: Data ``(data, *shape)``, 32-bit floats.

    Example:
        >>> steps_per_deviation(torch.tensor([[1e8, 1.0, 3.0], [1e8 + 16, 2.0, 3.0]])).log2()
        tensor([ 0., 21., inf])
    """
    low, high = extremes(x)
    largest = torch.maximum(low.abs(), high.abs())
    step = torch.nextafter(largest, torch.full_like(largest, torch.inf)) - largest
    deviation = moments(x)[1].sqrt().to(x.dtype)
    return torch.where(low == high, torch.inf, deviation / step)


def lost(wide: NDArray[np.floating], narrow: NDArray[np.float32]) -> str | None:
    """Says how many numbers of a datum vary in 64-bit floats and are constant in 32-bit floats; None if none.

    Example:
        >>> x = np.array([[1e8, 1.0], [1e8 + 1e-3, 2.0]])
        >>> print(lost(x, x.astype(np.float32)))
        1 of 2 numbers of a datum vary, but as 32-bit floats they are all 1e+08: subtract their mean first
    """
    if wide.dtype.itemsize <= narrow.dtype.itemsize or not len(wide):
        return None
    same = (narrow == narrow[0]).all(0)
    gone = same & (np.ptp(wide, axis=0) > NOISE * np.spacing(np.abs(wide[0]))) if same.any() else same
    if not gone.any():
        return None
    value = narrow[0][gone].flat[0]
    others = "all" if gone.sum() == 1 else "constant, such as"
    return (
        f"{gone.sum()} of {gone.size} numbers of a datum vary, but as 32-bit floats they are {others} {value:g}: "
        "subtract their mean first"
    )

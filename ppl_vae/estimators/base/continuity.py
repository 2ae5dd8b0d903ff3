"""Whether f is continuous between zeros and ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.base.integrand import Integrand

__all__ = ["check_continuous"]

WHOLE, PART = 32, 6
"""Nodes of the quadrature on a whole line, and on a part of one."""
HALVINGS = 16


def check_continuous(code: Code, f: Integrand, name: str) -> None:
    """Checks that f changes by what its slopes add up to, on the straight line from each code to its opposite.

    A jump, as where bits are rounded, compared with a number or used as an index, has no slope. One that is small
    beside the rest of the change, below a seventh, is not seen.

    Arguments:
        code: The draws.
        f: The function; it is evaluated 34 times, and more often where it is steep.
        name: Of the estimator that needs it.

    Raises:
        ValueError: If f jumps.
    """
    low, high = torch.zeros_like(f.values), torch.ones_like(f.values)
    change, told, allowed = _along(code, f, low, high, WHOLE)
    missed = (change - told).abs()
    suspect = first = missed > allowed
    # Where slopes are too steep for the quadrature, they are found on a part that is short enough.
    for _ in range(HALVINGS if suspect.any() else 0):
        middle = (low + high) / 2
        left, right = (_along(code, f, *ends, PART) for ends in ((low, middle), (middle, high)))
        off_left, off_right = ((part[0] - part[1]).abs() for part in (left, right))
        in_left = off_left > off_right
        low, high = torch.where(in_left, low, middle), torch.where(in_left, middle, high)
        rounding = torch.where(in_left, left[2], right[2])
        suspect = first & (off_left.maximum(off_right) > 0.1 * missed + rounding)
    if suspect.any():
        worst = torch.where(suspect, missed, 0).argmax()
        changes, adds_up_to = (part.flatten()[worst].item() for part in (change, told))
        raise ValueError(
            f"{name} needs a model that is continuous in bits between 0 and 1: between two codes f changes by "
            f"{changes:.3g} nats, its slopes add up to {adds_up_to:.3g}, and the "
            "gradient would be biased (are bits rounded, compared or used as an index?); use disarm with --control none"
        )


def _along(code: Code, f: Integrand, low: Tensor, high: Tensor, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Change of f on a part of each line, what its slopes add up to, and by how much these may differ."""
    away, length = 1 - 2 * code.bits, high - low

    def at(place: Tensor) -> tuple[Tensor, Tensor]:
        values, slopes = f.relaxed(code.bits + place[..., None] * away)
        return values, length * (slopes * away).sum(-1)

    start, end = at(low)[0], at(high)[0]
    told, size, largest = (torch.zeros_like(start) for _ in range(3))
    for node, weight in zip(*np.polynomial.legendre.leggauss(nodes), strict=True):
        rate = at(low + (node + 1) / 2 * length)[1]
        told, size = told + weight / 2 * rate, size + weight / 2 * rate.abs()
        largest = largest.maximum(rate.abs())
    # The quadrature misses some of a bend; the values are rounded.
    rounding = 100 * torch.finfo(start.dtype).eps * start.abs().maximum(end.abs())
    return end - start, told, 0.1 * size + 0.05 * largest + rounding

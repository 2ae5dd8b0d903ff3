"""Whether f is continuous between zeros and ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.base.integrand import Integrand

__all__ = ["check_continuous"]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)
"""Quadrature on (-1, 1)."""


def check_continuous(code: Code, f: Integrand, name: str) -> None:
    """Checks that f changes by what its slopes add up to, on the straight line from each code to its opposite.

    A jump, as where bits are rounded, compared with a number or used as an index, has no slope. One that is small
    beside the rest of the change, below a seventh, is not seen.

    Arguments:
        code: The draws.
        f: The function; it is evaluated 34 times.
        name: Of the estimator that needs it.

    Raises:
        ValueError: If f jumps.
    """
    away = 1 - 2 * code.bits
    start, end = f.relaxed(code.bits)[0], f.relaxed(1 - code.bits)[0]
    sums, sizes, largest = (torch.zeros_like(start) for _ in range(3))
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        rate = (f.relaxed(code.bits + (node + 1) / 2 * away)[1] * away).sum(-1)
        sums, sizes = sums + weight / 2 * rate, sizes + weight / 2 * rate.abs()
        largest = largest.maximum(rate.abs())
    # The quadrature misses some of a bend; the values are rounded.
    rounding = 100 * torch.finfo(start.dtype).eps * start.abs().maximum(end.abs())
    excess: Tensor = (end - start - sums).abs() - (0.1 * sizes + 0.05 * largest + rounding)
    if (excess > 0).any():
        worst = excess.argmax()
        change, told = (part.flatten()[worst].item() for part in (end - start, sums))
        raise ValueError(
            f"{name} needs a model that is continuous in bits between 0 and 1: between two codes f changes by "
            f"{change:.3g} nats, its slopes add up to {told:.3g}, and the gradient would be biased (are bits rounded, "
            "compared or used as an index?); use disarm with --control none"
        )

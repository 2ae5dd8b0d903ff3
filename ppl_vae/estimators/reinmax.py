"""ReinMax: straight-through gradients to second order."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.straight_through import StraightThrough

__all__ = ["ReinMax"]


class ReinMax(StraightThrough):
    r"""Biased: straight-through by Heun's method (Liu, Dong, Liu, Yu and Gao 2023, algorithm 2), for bits.

    .. math:: \hat g_j = \frac{1}{S} \sum_s \tfrac12\, q(1 - z_{sj})\, \partial_j f(z_s)

    to which their :math:`2\, \pi_1 (1 - \pi_1) - \tfrac12 \mu (1 - \mu)` with :math:`\pi_1 = (z + \mu) / 2` comes down
    where there are two states. In the mean it takes a flip's difference from the slopes at both ends, so that it is
    right where f is quadratic in each bit, and biased elsewhere.
    """

    name = "reinmax"
    bias: ClassVar[str | None] = "it takes the mean slope of f at both values of a bit for the difference of f"

    def derivative(self, code: Code) -> Tensor:
        mean = code.logits.sigmoid()
        return 0.5 * (code.bits * (1 - mean) + (1 - code.bits) * mean)

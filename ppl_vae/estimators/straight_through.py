"""Straight-through gradients."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.base.integrand import Integrand
from ppl_vae.estimators.base.slopes import SlopeEstimator

__all__ = ["StraightThrough"]


class StraightThrough(SlopeEstimator):
    r"""Biased: the slope of f at the drawn bits, as if they were their means (Bengio, Leonard and Courville 2013).

    .. math:: \hat g = \frac{1}{S} \sum_s \nabla_z f(z_s) \odot \mu \odot (1 - \mu)

    with :math:`\mu = \sigma(\eta)`. Its mean is the gradient where f is linear in each bit with the slope that
    automatic differentiation finds, and elsewhere is not: by Taylor's theorem it is accurate to first order. No more
    draws remove the bias.
    """

    name = "straight_through"
    bias: ClassVar[str | None] = "it takes the slope of f at drawn bits for the difference that a flip makes"

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        return (f.slopes * self.derivative(code)).mean(0)

    def derivative(self, code: Code) -> Tensor:
        """What stands for the derivative of each drawn bit for its logit, ``(rows or 1, *batch, bits)``."""
        mean = code.logits.sigmoid()
        return (mean * (1 - mean))[None]

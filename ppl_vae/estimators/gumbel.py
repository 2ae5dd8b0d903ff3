"""Straight-through Gumbel-softmax gradients."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.base.relaxed import check_temperature, noisy_code
from ppl_vae.estimators.straight_through import StraightThrough

__all__ = ["Gumbel"]


class Gumbel(StraightThrough):
    r"""Biased: straight-through Gumbel-softmax (Jang, Gu and Poole 2017; Maddison, Mnih and Teh 2017).

    .. math:: \hat g = \frac{1}{S} \sum_s \nabla_z f(z_s) \odot y_s \odot (1 - y_s) / \tau,
        \qquad y_s = \sigma\bigl((\eta + \operatorname{logit} u_s) / \tau\bigr), \quad z_s = 1_{y_s > 1/2}

    for uniform :math:`u_s`: the bits are drawn exactly, their derivative is that of a relaxed bit. Biased even where f
    is linear; a lower temperature has less bias and more noise.

    Arguments:
        temperature: :math:`\tau`, positive.
    """

    name = "gumbel"
    bias: ClassVar[str | None] = "it takes the slope of f at drawn bits, and the derivative of relaxed ones"

    def __init__(self, temperature: float = 0.5) -> None:
        check_temperature(temperature)
        self.temperature = temperature

    def draw(self, logits: Tensor, draws: int) -> Code:
        code = noisy_code(logits, self.rows(draws))
        code.bits.requires_grad_()
        return code

    def derivative(self, code: Code) -> Tensor:
        relaxed = ((code.logits + code.noise) / self.temperature).sigmoid()
        return relaxed * (1 - relaxed) / self.temperature

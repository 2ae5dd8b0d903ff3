"""REBAR: REINFORCE with relaxed bits as its control variate."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from ppl_vae.estimators.base.estimator import Code, Estimator
from ppl_vae.estimators.base.integrand import Integrand
from ppl_vae.estimators.base.relaxed import check_temperature, noisy_code

__all__ = ["REBAR"]


class REBAR(Estimator):
    r"""REINFORCE, with f at relaxed bits as its control variate (Tucker et al. 2017).

    .. math:: \hat g = \frac1S \sum_s \bigl(f(b_s) - f(y_s)\bigr) (b_s - \mu)
        + \nabla f(y_s) \odot \frac{y_s (1 - y_s)}{\tau} \odot \frac{q(1 - b_s)}{p_s}

    with :math:`\mu = \sigma(\eta)`, logistic noise :math:`\ell_s = \operatorname{logit} u_s`, bits
    :math:`b_s = 1_{\eta + \ell_s > 0}`, relaxed bits :math:`y_s = \sigma((\eta + \ell_s) / \tau)`, the probability
    q of each bit's value under the guide and :math:`p_s = u_s` where the bit is 1, :math:`1 - u_s` where it is 0. The
    last factor is one less the derivative of the noise given the bit, which the paper, too, ties to :math:`u_s`, so
    that both relaxed bits of its section 3.1 are one. The scale of the control variate, which the paper learns with the
    temperature, is one: of a constant f nothing is left.

    Unbiased where f is continuous between zeros and ones, as the first step of a training checks. Two evaluations of f
    per draw.

    Arguments:
        temperature: :math:`\tau`, positive. By default what left the least noise under small networks, of 0.1 to 1.5.
    """

    factorised = True
    between_bits = True
    independent_latents = True
    no_control: ClassVar[str | None] = "has relaxed bits for that"

    def __init__(self, temperature: float = 0.2) -> None:
        check_temperature(temperature)
        self.temperature = temperature

    def draw(self, logits: Tensor, draws: int) -> Code:
        return noisy_code(logits, self.rows(draws))

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        values, pathwise = self.relaxed(code, f, self.temperature)
        scores = (f.values - values)[..., None] * (code.bits - code.logits.sigmoid())
        return (scores + pathwise).mean(0)

    @staticmethod
    def relaxed(code: Code, f: Integrand, temperature: float) -> tuple[Tensor, Tensor]:
        """f at the relaxed bits of each draw, and the pathwise part of its gradient that the scores leave out."""
        relaxed = ((code.logits + code.noise) / temperature).sigmoid()
        values, slopes = f.relaxed(relaxed)
        sign = 2 * code.bits - 1
        # The chance of the other value over that of noise beyond this one; in logarithms, as both may be rare.
        other = (logsigmoid(-sign * code.logits) - logsigmoid(sign * code.noise)).exp()
        return values, slopes * relaxed * (1 - relaxed) / temperature * other

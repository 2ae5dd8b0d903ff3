"""Double control variates for leave-one-out REINFORCE."""

from __future__ import annotations

from torch import Tensor

from ppl_vae.estimators.base import Code, Estimator
from ppl_vae.estimators.leave_one_out import ReinforceLOO

__all__ = ["DoubleCV"]


class DoubleCV(ReinforceLOO):
    r"""Leave-one-out, with control variates from the slopes of f at the other draws (Titsias and Shi 2022, section 3).

    .. math:: \hat g = \frac{1}{S-1} \sum_s \bigl(r_s - \bar r\bigr) (z_s - \mu) + \bar s \odot \mu \odot (1 - \mu),
        \qquad r_s = f(z_s) - (z_s - \mu)^\top \frac{1}{S-1} \sum_{t \ne s} \nabla f(z_t)

    with :math:`\mu = \sigma(\eta)` and the mean slope :math:`\bar s`. What the residual of one draw takes from the
    slope at another has mean zero in either's baseline, so it is unbiased. Slopes come with the gradient for the
    model's parameters and bits stay zeros and ones, so it evaluates f once a draw and needs no relaxed bits. The paper
    learns a coefficient of the slopes; here it is one, which is best where f is close to quadratic.
    """

    name = "double"
    factorised = True
    needs = "slopes"

    def gradient(self, f: Tensor, code: Code) -> Tensor:
        return ((f - f.mean(0))[..., None] * (code.bits - code.logits.sigmoid())).sum(0) / (len(f) - 1)

    def from_slopes(self, slopes: Tensor, code: Code) -> Tensor:
        mean, others = code.logits.sigmoid(), (slopes.sum(0) - slopes) / (len(slopes) - 1)
        guessed = (others * (code.bits - mean)).sum(-1)
        return slopes.mean(0) * mean * (1 - mean) - self.gradient(guessed, code)

    def score_weights(self, f: Tensor, log_q: Tensor) -> Tensor:
        return Estimator.score_weights(self, f, log_q)

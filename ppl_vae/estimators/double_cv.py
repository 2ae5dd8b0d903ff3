"""Double control variates for leave-one-out REINFORCE."""

from __future__ import annotations

from torch import Tensor

from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.base.integrand import Integrand
from ppl_vae.estimators.base.slopes import SlopeEstimator

__all__ = ["DoubleCV"]


class DoubleCV(SlopeEstimator):
    r"""Leave-one-out, with control variates from the slopes of f at the other draws (Titsias and Shi 2022, section 3).

    .. math:: \hat g = \frac{1}{S-1} \sum_s \bigl(r_s - \bar r\bigr) (z_s - \mu) + \bar s \odot \mu \odot (1 - \mu),
        \qquad r_s = f(z_s) - (z_s - \mu)^\top \frac{1}{S-1} \sum_{t \ne s} \nabla f(z_t)

    with :math:`\mu = \sigma(\eta)` and the mean slope :math:`\bar s`. What the residual of one draw takes from the
    slope at another has mean zero in either's baseline, so it is unbiased. Slopes come with the gradient for the
    model's parameters and bits stay zeros and ones, so it evaluates f once per draw and needs no relaxed bits. The
    paper learns a coefficient of the slopes; here it is one, which is best where f is close to quadratic.
    """

    name = "double_cv"
    least_draws = 2

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        mean, slopes = code.logits.sigmoid(), f.slopes
        others = (slopes.sum(0) - slopes) / (len(slopes) - 1)
        guessed = (others * (code.bits - mean)).sum(-1)
        linear = slopes.mean(0) * mean * (1 - mean) - self._covariance(code, guessed)
        return self._covariance(code, f.values) + linear

    @staticmethod
    def _covariance(code: Code, values: Tensor) -> Tensor:
        """Sample covariance of values with each bit, about its mean, ``(*batch, bits)``."""
        centred = (values - values.mean(0))[..., None]
        return (centred * (code.bits - code.logits.sigmoid())).sum(0) / (len(values) - 1)

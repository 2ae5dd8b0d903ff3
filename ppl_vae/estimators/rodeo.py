"""RODEO: leave-one-out REINFORCE with control variates from a discrete Stein operator."""

from __future__ import annotations

from torch import Tensor

from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.base.integrand import Integrand
from ppl_vae.estimators.double_cv import DoubleCV

__all__ = ["RODEO"]


class RODEO(DoubleCV):
    r"""Leave-one-out, with control variates of mean zero from a Stein operator (Shi et al. 2022, section 4).

    .. math:: \hat g = \frac1S \sum_s \Bigl[\Bigl(f(z_s) - \frac{1}{S-1} \sum_{t \ne s}
        \bigl(f(z_t) + d\, A[h_t](z_t)\bigr)\Bigr) (z_s - \mu) + \tfrac d2\, A[h_s (\cdot - \mu)](z_s)\Bigr]

    with :math:`\mu = \sigma(\eta)`, d bits, the operator of a Gibbs sampler that draws one bit again,
    :math:`A[h](z) = \frac1d \sum_i \mathbb{E}[h(z') - h(z) \mid z'_{-i} = z_{-i}]`, whose mean is zero whatever h, and
    the surrogate :math:`h_s(z) = \frac{1}{S-1} \sum_{t \ne s} \nabla f(z_t)^\top (z - \mu)` of the other draws.
    Unbiased, from one evaluation of f per draw.

    The paper bends the surrogates by a network, and learns it and both coefficients along with the model. Here they are
    Taylor's, as an estimator keeps nothing from step to step, and of a linear f the coefficients leave no noise but
    that of each bit's own flip. Sums over neighbours have a closed form: what ``double_cv`` gives, plus half the mean
    of :math:`(1 - 2 \mu) \nabla f(z_t) (z_s - \mu)`.
    """

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        mean, slopes = code.logits.sigmoid(), f.slopes
        others = (slopes.sum(0) - slopes) / (len(slopes) - 1)
        own = (others * (code.bits - mean)).mean(0)
        return super().gradient(code, f) + (0.5 - mean) * own

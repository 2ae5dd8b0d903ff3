"""REINFORCE with a leave-one-out baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.estimators.base.estimator import Code, Estimator
from ppl_vae.estimators.base.integrand import Integrand

__all__ = ["ReinforceLOO"]


class ReinforceLOO(Estimator):
    r"""REINFORCE whose baseline is the mean of the other draws (Kool, van Hoof and Welling 2019).

    .. math:: \hat g = \frac{1}{S-1} \sum_s \bigl(f(z_s) - \bar f\bigr) \nabla_\eta \log q_\eta(z_s)

    Unbiased for any discrete family, independent bits or not.
    """

    name = "loo"
    least_draws = 2

    def draw(self, logits: Tensor, draws: int) -> Code:
        noise = torch.rand(self.rows(draws), *logits.shape, dtype=logits.dtype, device=logits.device)
        return Code((noise < logits.sigmoid()).to(logits.dtype), noise, logits)

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        return (self.score_weights(f.values, f.values)[..., None] * (code.bits - code.logits.sigmoid())).sum(0)

    def score_weights(self, values: Tensor, log_q: Tensor) -> Tensor:
        return (values - values.mean(0)) / (len(values) - 1)

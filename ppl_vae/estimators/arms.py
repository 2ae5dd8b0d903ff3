"""ARMS: antithetic REINFORCE over many samples with a Dirichlet copula."""

from __future__ import annotations

from torch import Tensor

from ppl_vae.estimators.base.dirichlet_copula import dirichlet_copula
from ppl_vae.estimators.base.estimator import Code, Estimator
from ppl_vae.estimators.base.integrand import Integrand

__all__ = ["ARMS"]


class ARMS(Estimator):
    r"""Antithetic REINFORCE from many draws that exclude each other (Dimitriev and Zhou 2021, theorem 1).

    .. math:: \hat g_j = \frac{1}{(n-1)(1 - \rho_j)} \sum_s \bigl(f(z_s) - \bar f\bigr) (z_{sj} - \sigma(\eta_j))

    with the correlation :math:`\rho_j` of two draws of a bit; unbiased. Two draws give DisARM; independent ones would
    give leave-one-out. It evaluates f once per draw.

    Example:
        >>> import torch
        >>> ARMS().draw(torch.zeros(4, 3), draws=5).bits.shape
        torch.Size([5, 4, 3])
    """

    factorised = True
    least_draws = 2

    def draw(self, logits: Tensor, draws: int) -> Code:
        bits, noise = dirichlet_copula(logits, self.rows(draws))
        return Code(bits, noise[None], logits)

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        values = f.values
        centred = (values - values.mean(0)) / (len(values) - 1)
        return (centred[..., None] * (code.bits - code.logits.sigmoid())).sum(0) * code.noise[0]

"""ARMS: antithetic REINFORCE over many samples with a Dirichlet copula."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.estimators.base import Code, Estimator

__all__ = ["ARMS", "dirichlet_copula"]


def dirichlet_copula(logits: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    r"""Draws of bits that are rarely the same, and the correlation of any two: the Dirichlet copula.

    With d uniform on the simplex of so many numbers, :math:`v_i = (1 - d_i)^{n-1}` are uniform and exclude each other:
    no two are below q together unless :math:`2 q^{1/(n-1)} > 1` (Dimitriev and Zhou 2021, section 3.2). The rarer
    value of each bit is where v is small. Two draws are an antithetic pair.

    Arguments:
        logits: ``(*batch, bits)``.
        draws: n, at least 2.

    Returns:
        Bits, ``(n, *batch, bits)``, and :math:`1 / (1 - \rho)` for their correlation, ``(*batch, bits)``.
    """
    power = draws - 1
    parts = torch.empty(draws, *logits.shape, dtype=logits.dtype, device=logits.device).exponential_()
    small = (1 - parts / parts.sum(0)) ** power
    rare = (-logits.abs()).sigmoid().clamp(min=torch.finfo(logits.dtype).tiny)
    bits = ((small < rare) == (logits < 0)).to(logits.dtype)
    both = (2 * rare ** (1 / power) - 1).clamp(min=0) ** power
    return bits, (1 - rare) / (1 - both / rare)


class ARMS(Estimator):
    r"""Antithetic REINFORCE from many draws that exclude each other (Dimitriev and Zhou 2021, theorem 1).

    .. math:: \hat g_j = \frac{1}{(n-1)(1 - \rho_j)} \sum_s \bigl(f(z_s) - \bar f\bigr) (z_{sj} - \sigma(\eta_j))

    with the correlation :math:`\rho_j` of two draws of a bit; unbiased. Two draws give DisARM; independent ones would
    give leave-one-out. It evaluates f once a draw.

    Example:
        >>> ARMS().draw(torch.zeros(4, 3), draws=5).bits.shape
        torch.Size([5, 4, 3])
    """

    name = "arms"
    factorised = True
    least_draws = 2

    def draw(self, logits: Tensor, draws: int) -> Code:
        bits, noise = dirichlet_copula(logits, self.rows(draws))
        return Code(bits, noise[None], logits)

    def gradient(self, f: Tensor, code: Code) -> Tensor:
        centred = (f - f.mean(0)) / (len(f) - 1)
        return (centred[..., None] * (code.bits - code.logits.sigmoid())).sum(0) * code.noise[0]

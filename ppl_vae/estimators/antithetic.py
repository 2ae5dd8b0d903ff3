"""Estimators whose draws exclude each other."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.estimators.base import Code, Estimator

__all__ = ["ARM", "ARMS", "DisARM", "excluding"]


class _Antithetic(Estimator):
    """Draws in pairs made from u and 1 - u; the pairs lie one after the other along the rows."""

    factorised = True

    def rows(self, draws: int) -> int:
        return 2 * super().rows(draws)

    def draw(self, logits: Tensor, draws: int) -> Code:
        noise = torch.rand(draws, *logits.shape, dtype=logits.dtype, device=logits.device)
        positive = logits.sigmoid()
        bits = torch.cat([noise > 1 - positive, noise < positive]).to(logits.dtype)
        return Code(bits, noise, logits)


class ARM(_Antithetic):
    r"""Augment-REINFORCE-merge (Yin and Zhou 2019, theorem 1).

    .. math:: \hat g = \tfrac12 \bigl(f(1_{u > \sigma(-\eta)}) - f(1_{u < \sigma(\eta)})\bigr)(2u - 1)

    with :math:`u` uniform, averaged over the draws; unbiased.

    Example:
        >>> bits = ARM().draw(torch.zeros(4, 3), draws=2).bits
        >>> bits.shape
        torch.Size([4, 4, 3])
    """

    name = "arm"

    def gradient(self, f: Tensor, code: Code) -> Tensor:
        first, second = f.chunk(2)
        return (0.5 * (first - second)[..., None] * (2 * code.noise - 1)).mean(0)


class DisARM(_Antithetic):
    r"""Discrete ARM: ARM with the uniforms integrated out given the bits (Dong, Mnih and Tucker 2020, eq. 7).

    .. math:: \hat g_j = \tfrac12 \bigl(f(b) - f(\tilde b)\bigr)
        (-1)^{\tilde b_j}\, 1_{b_j \ne \tilde b_j}\, \sigma(|\eta_j|)

    for an antithetic pair of codes :math:`b, \tilde b`, averaged over the pairs; unbiased, and never noisier
    than ARM. Yin, Ho, Yan, Qian and Zhou found it independently in 2020 (unbiased uniform gradient).
    """

    name = "disarm"

    def graded(self, rows: int) -> int:
        # Twins cost a decoder's backward pass each; the second adds little to what a batch's noise leaves to know.
        return rows // 2

    def gradient(self, f: Tensor, code: Code) -> Tensor:
        first, second = f.chunk(2)
        b, mirrored = code.bits.chunk(2)
        return (0.5 * (first - second)[..., None] * (b - mirrored)).mean(0) * code.logits.abs().sigmoid()


def excluding(logits: Tensor, draws: int) -> tuple[Tensor, Tensor]:
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
        bits, noise = excluding(logits, self.rows(draws))
        return Code(bits, noise[None], logits)

    def gradient(self, f: Tensor, code: Code) -> Tensor:
        centred = (f - f.mean(0)) / (len(f) - 1)
        return (centred[..., None] * (code.bits - code.logits.sigmoid())).sum(0) * code.noise[0]

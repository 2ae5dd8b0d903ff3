"""Estimators whose draws exclude each other."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.estimators.base import Code, Estimator

__all__ = ["ARM", "DisARM"]


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

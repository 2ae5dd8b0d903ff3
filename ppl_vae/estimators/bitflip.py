"""Bitflip-1: one bit of each draw is flipped."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.estimators.base.estimator import Code, Estimator
from ppl_vae.estimators.base.integrand import Integrand

__all__ = ["Bitflip"]


class Bitflip(Estimator):
    r"""One bit of each draw, chosen at random, is summed over (bitflip-1 of Kunes et al. 2022).

    .. math:: \hat g_j = \frac{d}{S} \sum_s 1_{k_s = j}\, \sigma(\eta_j)\, \sigma(-\eta_j)\,
        \bigl(f(z_{-j}, z_j = 1) - f(z_{-j}, z_j = 0)\bigr), \qquad k_s \text{ uniform over the d bits}

    Unbiased, from two evaluations of f per draw however many bits there are: ``local`` with one bit at a time. Its
    noise vanishes with :math:`\sigma(\eta) \sigma(-\eta)`, where that of DisARM only does so with the square root of
    it, and grows with the number of bits. Flipped codes serve the gradient alone: in the bound they weigh nothing.
    """

    name = "bitflip"
    factorised = True
    single_site = True

    def rows(self, draws: int) -> int:
        return 2 * super().rows(draws)

    def draw(self, logits: Tensor, draws: int) -> Code:
        noise = torch.rand(draws, *logits.shape, dtype=logits.dtype, device=logits.device)
        bits = (noise < logits.sigmoid()).to(logits.dtype)
        chosen = torch.rand_like(bits).argmax(-1, keepdim=True)
        flipped = bits.scatter(-1, chosen, 1 - bits.gather(-1, chosen))
        return Code(torch.cat([bits, flipped]), noise, logits, differentiated=draws)

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        first, second = f.values.chunk(2)
        bits, flipped = code.bits.chunk(2)
        mean = code.logits.sigmoid()
        difference = ((first - second)[..., None] * (bits - flipped)).mean(0)
        return code.bits.shape[-1] * mean * (1 - mean) * difference

    def weights(self, log_q: Tensor) -> Tensor:
        draws = len(log_q) // 2
        return torch.cat([torch.full_like(log_q[:draws], 1 / draws), torch.zeros_like(log_q[draws:])])

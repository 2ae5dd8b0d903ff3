"""Local expectation gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.estimators.base.dirichlet_copula import dirichlet_copula
from ppl_vae.estimators.base.estimator import Code, Estimator
from ppl_vae.estimators.base.integrand import Integrand

__all__ = ["Local"]


class Local(Estimator):
    r"""Local expectation gradients: each bit is summed over, the others are drawn.

    .. math:: \hat g_j = \sigma(\eta_j)\, \sigma(-\eta_j)\,
        \bigl(f(z_{-j}, z_j = 1) - f(z_{-j}, z_j = 0)\bigr)

    averaged over draws, which exclude each other where there are several; unbiased (Titsias and Lazaro-Gredilla 2015,
    section 3). What f does along a bit causes no noise, what it does along the others only as far as they change the
    bit's flip difference. It takes as many evaluations of f per draw as there are bits, except where the likelihood
    knows its flip differences, as that of documents does under an affine decoder: there all cost less than a second
    draw.
    """

    factorised = True
    independent_latents = True
    no_control = "works from the flip differences of f"

    def draw(self, logits: Tensor, draws: int) -> Code:
        if self.rows(draws) > 1:
            bits, _ = dirichlet_copula(logits, draws)
            return Code(bits, bits, logits)
        noise = torch.rand(1, *logits.shape, dtype=logits.dtype, device=logits.device)
        return Code((noise < logits.sigmoid()).to(logits.dtype), noise, logits)

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        mean = code.logits.sigmoid()
        return f.flip_differences.mean(0) * mean * (1 - mean)

"""Local expectation gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.estimators.arms import dirichlet_copula
from ppl_vae.estimators.base import Code, Estimator

__all__ = ["Local", "bit_flips"]


def bit_flips(bits: Tensor) -> Tensor:
    """Codes with one bit turned, each bit in turn: ``(rows, *batch, bits)`` to ``(bits, rows, *batch, bits)``.

    Example:
        >>> bit_flips(torch.tensor([[0.0, 1.0]])).tolist()
        [[[1.0, 1.0]], [[0.0, 0.0]]]
    """
    size = bits.shape[-1]
    which = torch.eye(size, dtype=bits.dtype, device=bits.device).reshape(size, *[1] * (bits.ndim - 1), size)
    return (bits - which).abs()


class Local(Estimator):
    r"""Local expectation gradients: each bit is summed over, the others are drawn.

    .. math:: \hat g_j = \sigma(\eta_j)\, \sigma(-\eta_j)\,
        \bigl(f(z_{-j}, z_j = 1) - f(z_{-j}, z_j = 0)\bigr)

    averaged over draws, which exclude each other where there are several; unbiased (Titsias and Lazaro-Gredilla 2015,
    section 3). What f does along a bit is no noise any more, and what it does along the others only as far as they
    change the bit's gain. It needs every gain: as many evaluations of f a draw as there are bits, except where the
    likelihood knows them, as that of documents does under an affine decoder: there all cost less than a second draw.
    """

    name = "local"
    factorised = True
    needs = "gains"

    def draw(self, logits: Tensor, draws: int) -> Code:
        if self.rows(draws) > 1:
            bits, _ = dirichlet_copula(logits, draws)
            return Code(bits, bits, logits)
        noise = torch.rand(1, *logits.shape, dtype=logits.dtype, device=logits.device)
        return Code((noise < logits.sigmoid()).to(logits.dtype), noise, logits)

    def gradient(self, f: Tensor, code: Code) -> Tensor:
        mean = code.logits.sigmoid()
        return f.mean(0) * mean * (1 - mean)

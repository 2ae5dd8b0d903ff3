"""Antithetic pairs of draws."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.estimators.base.estimator import Code, Estimator

__all__ = ["Antithetic"]


class Antithetic(Estimator):
    """Draws in pairs made from u and 1 - u; the second halves of all pairs follow the first along the rows."""

    factorised = True

    def rows(self, draws: int) -> int:
        return 2 * super().rows(draws)

    def draw(self, logits: Tensor, draws: int) -> Code:
        noise = torch.rand(draws, *logits.shape, dtype=logits.dtype, device=logits.device)
        positive = logits.sigmoid()
        bits = torch.cat([noise > 1 - positive, noise < positive]).to(logits.dtype)
        return Code(bits, noise, logits)

"""Independent draws for estimators that work from the slopes of f."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ppl_vae.estimators.base.estimator import Code, Estimator

__all__ = ["SlopeEstimator"]


class SlopeEstimator(Estimator):
    """Draws independent bits that require a gradient, so that ``f.slopes`` can be read."""

    factorised = True
    no_control: ClassVar[str | None] = "works from the slopes of f"

    def draw(self, logits: Tensor, draws: int) -> Code:
        noise = torch.rand(self.rows(draws), *logits.shape, dtype=logits.dtype, device=logits.device)
        return Code((noise < logits.sigmoid()).to(logits.dtype).requires_grad_(), noise, logits)

"""Bits drawn by logistic noise, which relaxes them."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.estimators.base.estimator import Code

__all__ = ["check_temperature", "noisy_code"]


def check_temperature(temperature: float) -> None:
    """Refuses a temperature that is not positive."""
    if not temperature > 0:
        raise ValueError(f"the temperature is {temperature}; give a positive number")


def noisy_code(logits: Tensor, rows: int) -> Code:
    r"""Bits :math:`1_{\eta + \ell > 0}`, ``(rows, *logits)``, with their logistic noise :math:`\ell` and logits."""
    uniform = torch.rand(rows, *logits.shape, dtype=logits.dtype, device=logits.device)
    noise = uniform.logit(torch.finfo(logits.dtype).eps)
    return Code((logits + noise > 0).to(logits.dtype), noise, logits)

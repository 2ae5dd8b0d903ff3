"""Draws of bits that are rarely the same."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dirichlet_copula"]


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

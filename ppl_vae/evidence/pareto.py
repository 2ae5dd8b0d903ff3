"""The Pareto shape of the largest importance weights: can their mean be trusted?"""

from __future__ import annotations

from math import ceil, log10, sqrt

import torch
from torch import Tensor

__all__ = ["k_hat", "k_hat_limit"]


def k_hat_limit(draws: int) -> float:
    r"""Largest trustworthy k-hat for so many draws, :math:`\min(1 - 1 / \log_{10} S,\ 0.7)`.

    (Vehtari, Simpson, Gelman, Yao and Gabry 2024, section 3.2.)

    Example:
        >>> round(k_hat_limit(100), 2), k_hat_limit(100_000)
        (0.5, 0.7)
    """
    return min(1 - 1 / log10(draws), 0.7) if draws > 10 else 0.0


def k_hat(log_weights: Tensor) -> Tensor:
    r"""Shape of the generalised Pareto distribution of the largest weights of each datum.

    The tail holds the :math:`M = \lceil \min(S / 5, 3 \sqrt S) \rceil` largest of S weights; the shape comes from
    the posterior mean of Zhang and Stephens (2009), drawn towards 1/2 by a prior worth ten observations (Vehtari et
    al. 2024, appendix G).

    Arguments:
        log_weights: ``(draws, data)``, in nats.

    Returns:
        ``(data,)``; minus infinity where all weights are equal, not a number where no tail can be fitted: fewer than
        five weights lie in it, or they are all tied, as those of few discrete states are.
    """
    draws = len(log_weights)
    size = ceil(min(0.2 * draws, 3 * sqrt(draws)))
    if size < 5:
        return log_weights.new_full(log_weights.shape[1:], torch.nan)
    ordered = log_weights.sort(0).values
    ordered = ordered - ordered[-1]
    tail = ordered[-size:].exp() - ordered[-size - 1].exp()
    tied = tail[-1] <= 1e-12
    tail = torch.where(tied, torch.arange(1.0, size + 1, device=tail.device, dtype=tail.dtype)[:, None], tail)
    constant = torch.where(ordered[0] > -1e-9, -torch.inf, torch.nan)
    return torch.where(tied, constant, _shape(tail))


def _shape(tail: Tensor) -> Tensor:
    """Posterior mean of the shape, from sorted exceedances ``(size, data)``."""
    size = len(tail)
    points = 30 + int(sqrt(size))
    grid = torch.arange(1, points + 1, dtype=tail.dtype, device=tail.device)[:, None]
    quartile = tail[int(size / 4 + 0.5) - 1]
    scale = 1 / tail[-1] + (1 - (points / (grid - 0.5)).sqrt()) / (3 * quartile.clamp(min=torch.finfo(tail.dtype).tiny))
    # Profile log-likelihood of each candidate, (points, data); a loop over candidates keeps memory at the tail's size.
    shapes = torch.stack([torch.log1p(-candidate * tail).mean(0) for candidate in scale])
    profile = size * ((-scale / shapes).log() - shapes - 1)
    weight = profile.softmax(0)
    best = (weight * scale).sum(0)
    shape = torch.log1p(-best * tail).mean(0)
    return (size * shape + 5) / (size + 10)

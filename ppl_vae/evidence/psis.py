"""Pareto-smoothed importance sampling: the shape k-hat of the largest weights, and smoothed weights."""

from __future__ import annotations

from math import ceil, log10, sqrt

import torch
from torch import Tensor

__all__ = ["k_hat", "k_hat_limit", "smoothed", "tail_size"]


def k_hat_limit(draws: int) -> float:
    r"""Largest k-hat of S samples whose mean weight can be trusted, :math:`\min(1 - 1 / \log_{10} S,\ 0.7)`.

    (Vehtari, Simpson, Gelman, Yao and Gabry 2024, section 3.2.)

    Example:
        >>> round(k_hat_limit(100), 2), k_hat_limit(100_000)
        (0.5, 0.7)
    """
    return min(1 - 1 / log10(draws), 0.7) if draws > 10 else 0.0


def tail_size(draws: int) -> float:
    r"""Number of the largest of S weights that a Pareto distribution is fitted to, :math:`\min(S / 5, 3 \sqrt S)`.

    (Vehtari et al. 2024; to be rounded up.)

    Example:
        >>> tail_size(100), tail_size(400)
        (20.0, 60.0)
    """
    return min(0.2 * draws, 3 * sqrt(draws))


def k_hat(log_weights: Tensor) -> Tensor:
    r"""Shape of the generalised Pareto distribution of the largest weights of each datum.

    The tail holds the :func:`tail_size` largest of S weights, rounded up; the shape comes from the posterior mean of
    Zhang and Stephens (2009), shrunk towards 1/2 by a prior worth ten observations (Vehtari et al. 2024, appendix G).

    Arguments:
        log_weights: Log-weights, ``(draws, data)``, in nats.

    Returns:
        ``(data,)``; minus infinity where all weights are equal, NaN where no tail can be fitted: it has fewer
        than five weights, or they are all tied, as with few discrete states.
    """
    _, tail = _tail(log_weights)
    if tail is None:
        return log_weights.new_full(log_weights.shape[1:], torch.nan)
    ordered, exceedances, tied = tail
    constant = torch.where(ordered[0] - ordered[-1] > -1e-9, -torch.inf, torch.nan)
    return torch.where(tied, constant, _fit(exceedances)[0])


def smoothed(log_weights: Tensor) -> Tensor:
    r"""Returns log-weights whose largest are replaced by quantiles of the fitted Pareto distribution.

    The M largest become the expected order statistics of the Pareto distribution fitted to them, none above the
    largest raw weight (Vehtari et al. 2024, section 2.4). Their mean has a small bias and a much smaller variance.

    Arguments:
        log_weights: Log-weights, ``(draws, data)``, in nats.

    Returns:
        ``(draws, data)`` in ascending order, in nats; unchanged where no tail can be fitted.
    """
    ordered, tail = _tail(log_weights)
    if tail is None:
        return ordered
    _, exceedances, tied = tail
    shape, scale = _fit(exceedances)
    size = len(exceedances)
    share = (torch.arange(size, dtype=ordered.dtype, device=ordered.device)[:, None] + 0.5) / size
    quantile = torch.special.expm1(-shape * torch.log1p(-share)) / shape * scale
    high, cut = ordered[-1], ordered[-size - 1]
    replaced = (quantile + (cut - high).exp()).log().clamp(max=0) + high
    unchanged = tied | ~replaced.isfinite().all(0)
    ordered[-size:] = torch.where(unchanged, ordered[-size:], replaced)
    return ordered


def _tail(log_weights: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor] | None]:
    """Sorted log-weights; the same with exceedances of the tail and whether it is tied, None for too few draws."""
    draws = len(log_weights)
    size = ceil(tail_size(draws))
    ordered = log_weights.sort(0).values
    if size < 5:
        return ordered, None
    relative = ordered - ordered[-1]
    tail = relative[-size:].exp() - relative[-size - 1].exp()
    # Ties at the cut, as with few discrete states, are no tail; tiny exceedances are, even where exp() underflows.
    tied = ~(ordered[-size + int(size / 4 + 0.5) - 1] - ordered[-size - 1] > 1e-9)
    tail = torch.where(tied, torch.arange(1.0, size + 1, device=tail.device, dtype=tail.dtype)[:, None], tail)
    return ordered, (ordered, tail, tied)


def _fit(tail: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior means of shape and scale, ``(data,)`` each, from sorted exceedances ``(size, data)``."""
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
    return (size * shape + 5) / (size + 10), -shape / best

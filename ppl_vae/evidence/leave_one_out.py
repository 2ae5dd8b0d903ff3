"""Upper bounds on log p(x) of real data from unbiased estimates, each held against the mean of the others."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log

import torch
from torch import Tensor

from ppl_vae.evidence.estimate import Estimate

__all__ = ["MOST_GROUPS", "grouped", "leave_one_out", "stratified"]

MOST_GROUPS = 50
"""Most groups of samples; more make the bound hardly tighter."""


def grouped(log_weights: Tensor, groups: int) -> Tensor:
    """Log of the mean weight of consecutive groups of samples, ``(groups, data)``, from ``(draws, data)``.

    The groups are of equal size; samples left over are not used.
    """
    size = len(log_weights) // groups
    parts: Tensor = log_weights[: groups * size].unflatten(0, (groups, size))
    return parts.logsumexp(1) - log(size)


def stratified(log_weights: Tensor, sizes: Sequence[int]) -> Tensor:
    """Logs of unbiased estimates of p(x), ``(groups, data)``, each from samples of every part of a mixture.

    Arguments:
        log_weights: Log-weights under the mixture, part after part, ``(draws of all, data)``.
        sizes: Number of samples of each part.
    """
    fewest = min(sizes)
    count = fewest // ceil(fewest / MOST_GROUPS)
    parts = log_weights.split(list(sizes))
    shares = [grouped(part, count) + log(size / len(log_weights)) for part, size in zip(parts, sizes, strict=True)]
    return torch.stack(shares).logsumexp(0)


def leave_one_out(log_weights: Tensor) -> Estimate | None:
    r"""An upper bound on log p(x) in expectation, for any data, from independent unbiased estimates of p(x).

    .. math:: \log p(x) \le \mathbb{E}\, \frac1K \sum_k \Bigl(\log c_k + \frac{R_k}{c_k} - 1\Bigr), \qquad
        c_k = \frac{1}{K - 1} \sum_{j \ne k} R_j

    The tangent of the logarithm at any c > 0 lies above it, :math:`\log p \le \log c + p / c - 1`, and
    :math:`R_k`, of mean p(x), is independent of :math:`c_k`. (Struski, Mazur, Batorski, Spurek and Tabor 2022
    minimise over one c of other samples; here each estimate has the mean of the others for its c.) It lies about
    :math:`\mathrm{var}(R) / 2 K p^2` above log p(x), as far as the mean of the estimates lies below it.

    The error is that of the infinitesimal jackknife over the estimates, and twice the excess of the largest term: under
    a Pareto distribution of shape 1/2, what has not been seen is twice as large as the largest seen.

    Arguments:
        log_weights: Log-weights of independent samples or chains, each an unbiased estimate of p(x), ``(draws,
            data)``, in nats. More than :data:`MOST_GROUPS` are taken in groups.

    Returns:
        The bound of each datum, infinite where a single estimate is not zero; its draws are the number of estimates.
        None for fewer than two.
    """
    draws = len(log_weights)
    if draws < 2:
        return None
    logs = grouped(log_weights, draws // ceil(draws / MOST_GROUPS))
    count, high = len(logs), logs.amax(0).clamp(min=torch.finfo(logs.dtype).min)
    estimates = (logs - high).exp()
    # The sum without the largest is summed without it: subtracted from the whole it would lose its digits.
    largest = estimates.argmax(0, keepdim=True)
    others = estimates.sum(0) - estimates
    others = others.scatter(0, largest, estimates.scatter(0, largest, 0).sum(0, keepdim=True)) / (count - 1)
    terms = estimates / others
    values = high + (others.log() + terms - 1).mean(0)
    slopes = (1 - terms) / others
    influence = (1 / others + (slopes.sum(0) - slopes) / (count - 1)) * (estimates - estimates.mean(0))
    variance = influence.square().sum(0) / (count * (count - 1)) + (2 * (terms.amax(0) - 1) / count).square()
    single = others.amin(0) <= 0
    return Estimate(
        values.masked_fill(single, torch.inf),
        "leave-one-out weights",
        "upper",
        count,
        variance.sqrt().masked_fill(single, torch.inf),
    )

"""Log-likelihoods of models without latents, which a pair that learned anything exceeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.images import constant
from ppl_vae.data.inputs import Batch
from ppl_vae.data.passes import is_binary, moments
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.nn.modes import evaluation_mode
from ppl_vae.programs.handlers import observations, run
from ppl_vae.programs.random_state import fork_random_state

__all__ = ["baseline"]

SMOOTHING = 0.5
"""Added to every count, so that what training data lack has a probability (Krichevsky and Trofimov 1981)."""


def baseline(model: Callable[..., Any], train: Batch, x: Batch) -> tuple[str, Tensor] | None:
    r"""Returns the name of a model without latents and the log-likelihood of each datum under it, ``(data,)``, in nats.

    Fitted to the training data: a unigram model of documents, :math:`\log \binom{l}{x} + \sum_k x_k \log \pi_k`;
    independent Bernoulli numbers for zeros and ones of a discrete model; for a continuous one independent normal
    numbers, of one variance where some are constant.

    Arguments:
        model: The model, which decides by which measure its data have a density.
        train: The training data.
        x: The data.

    Returns:
        None where the model observes something else than the data alone, or data with missing values.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Bernoulli(logits=pyro.sample("z", dist.Normal(0, 1))), obs=x)
        >>> name, values = baseline(model, torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([1.0]))
        >>> name, values.exp().item()
        ('independent bits', 0.5)
    """
    with evaluation_mode(model), fork_random_state(), torch.no_grad():
        sites = run(model, (x[:1],), {}, draws=1)
    observed = list(observations(sites).values())
    if len(observed) != 1:
        return None
    fn, value = observed[0]["fn"], observed[0]["value"]
    if isinstance(x, PackedCounts) and isinstance(train, PackedCounts):
        return ("a unigram model", _unigram(train, x)) if isinstance(fn, PackedMultinomial) else None
    if not isinstance(x, Tensor) or not isinstance(train, Tensor) or not torch.is_tensor(value):
        return None
    if value.numel() != x[0].numel() or not torch.equal(value.flatten(), x[0].flatten().to(value)):
        return None
    seen = x[:].reshape(len(x), -1).double()
    mean, variance = (part.flatten() for part in moments(train))
    if mean.isnan().any() or seen.isnan().any():
        return None
    if not fn.support.is_discrete:
        return "independent normal numbers", _normal(mean, variance, bool(constant(train).any()), seen)
    if is_binary(train) and is_binary(seen):
        share = (mean * len(train) + SMOOTHING) / (len(train) + 2 * SMOOTHING)
        return "independent bits", (seen * share.log() + (1 - seen) * (-share).log1p()).sum(1)
    return None


def _unigram(train: PackedCounts, x: PackedCounts) -> Tensor:
    counts = train.totals + SMOOTHING
    logs = (counts / counts.sum()).log().to(x.device)
    x = x[:]
    return x.log_coefficient + x.sum(x.counts.double() * logs[x.words])


def _normal(mean: Tensor, variance: Tensor, shared: bool, x: Tensor) -> Tensor:
    if shared:
        variance = variance.mean().expand_as(variance)
    # Of data that are all the same the density is infinite, which no bound exceeds; nothing is compared.
    squares = (x - mean).square() / variance
    return -0.5 * (squares + variance.log() + math.log(2 * math.pi)).sum(1)

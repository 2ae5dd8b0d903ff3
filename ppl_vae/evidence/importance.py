"""ELBO and evidence from importance weights."""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.estimate import Bound, Estimate
from ppl_vae.evidence.leave_one_out import leave_one_out
from ppl_vae.evidence.psis import k_hat, smoothed
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.log_weight import Terms
from ppl_vae.programs.sampled import in_blocks
from ppl_vae.programs.types import Program, Progress

__all__ = [
    "ImpossibleError",
    "Weights",
    "from_log_weights",
    "log_mean_exp",
    "log_weights",
    "method_and_bound",
    "sampled_bound",
    "sampled_elbo",
    "sampled_elbo_of",
    "sampled_rates",
    "unbounded",
    "with_sampled_bound",
]


def sampled_elbo(model: Program, guide: Program, x: Batch, draws: int = 1) -> Tensor:
    """Returns the ELBO of each datum by Monte Carlo, ``(data,)``, in nats: a quick estimate during training."""
    with evaluating(model, guide):
        return torch.cat([block.weights.mean(0) for block in log_weights(model, guide, x, draws)])


def sampled_rates(model: Program, guide: Program, x: Batch, draws: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the ELBO of each datum and its rate by latent site from the same samples, ``(data,)`` each, in nats.

    Raises:
        ImpossibleError: If the densities cannot be right.
    """
    bounds: list[Tensor] = []
    rates: dict[str, list[Tensor]] = {}
    with evaluating(model, guide):
        for place, parts in in_blocks(model, guide, x, draws):
            weights, by_site = [], dict[str, list[Tensor]]()
            for terms in parts:
                check_possible(terms, place.start)
                weights.append(terms.weight)
                for name, log_q in terms.proposal.items():
                    by_site.setdefault(name, []).append(log_q - terms.prior[name])
            precise = torch.float32 if weights[0].device.type == "mps" else torch.float64
            bounds.append(torch.cat(weights).to(precise).mean(0))
            for name, blocks in by_site.items():
                rates.setdefault(name, []).append(torch.cat(blocks).to(precise).mean(0))
    return torch.cat(bounds), {name: torch.cat(values) for name, values in rates.items()}


class Weights(NamedTuple):
    """Log-weights of a block of data.

    Arguments:
        weights: log p(x, z) - log q(z given x) of each sample, ``(draws, block)``, in float64.
        distinct: Whether the samples of a datum differ, ``(block,)``.
        ratio: log p(z) - log q(z given x) of each sample, ``(draws, block)``; None where it is not asked for.
    """

    weights: Tensor
    distinct: Tensor
    ratio: Tensor | None = None


IMPOSSIBLE = 40.0
r"""Nats by which log p(z) does not exceed log q(z | x) at draws of q: :math:`\mathbb{E}_q[p / q] \le 1`, and Markov."""

ROUNDED = 1.0
"""Nats by which rounding may take the log-probability of long documents above zero."""


def log_weights(
    model: Program, guide: Program, x: Batch, draws: int, progress: Progress | None = None, *, ratio: bool = False
) -> Iterator[Weights]:
    """Yields log-weights of independent samples from the guide, a block of data at a time."""
    for place, parts in in_blocks(model, guide, x, draws, progress):
        # Small tensors allocated between large ones would keep the allocator from freeing memory.
        together, ratios, done, first, distinct = torch.empty(0), None, 0, None, None
        for terms in parts:
            weights, values, apart = terms.weight, terms.values, terms.ratio
            if (weights == torch.inf).any():
                raise ValueError(_infinite(terms, place.start))
            check_possible(terms, place.start)
            if not done:
                precise = torch.float32 if weights.device.type == "mps" else torch.float64
                together = torch.empty(draws, place.stop - place.start, dtype=precise, device=weights.device)
                ratios = torch.empty_like(together) if ratio else None
            # Sites without a value per datum, which models must not have, fail here instead of giving wrong results.
            first = {name: value[0].clone() for name, value in values.items()} if first is None else first
            differ = [(v != first[n]).reshape(*v.shape[:2], -1).any(-1).any(0) for n, v in values.items()]
            different = torch.stack(differ).any(0)
            distinct = different if distinct is None else distinct | different
            together[done : done + len(weights)] = weights
            if ratios is not None:
                ratios[done : done + len(weights)] = apart
            done += len(weights)
        assert distinct is not None
        yield Weights(together, distinct, ratios)


class ImpossibleError(ValueError):
    """Log-densities that cannot be those of the guide's draws, or of data."""


def check_possible(terms: Terms, start: int) -> None:
    """Refuses densities that cannot be right, of draws from the guide for data that begin at ``start``.

    Raises:
        ImpossibleError: If draws of the guide have a density far below the prior's, or discrete data a probability
            above one, naming the datum.
    """
    ratio, likelihood = terms.ratio, terms.likelihood
    if (ratio > IMPOSSIBLE).any():
        datum = int((ratio > IMPOSSIBLE).nonzero()[0][-1])
        raise ImpossibleError(
            f"the guide's own draws for datum {start + datum} have a density {ratio[..., datum].max():.3g} nats below "
            f"that of the prior, which happens with probability e^-{IMPOSSIBLE:.0f} unless it is lost to rounding, as "
            "where a covariance is nearly singular; train the guide with a lower learning rate, or in float64"
        )
    if terms.discrete and (likelihood > ROUNDED).any():
        datum = int((likelihood > ROUNDED).nonzero()[0][-1])
        raise ImpossibleError(
            f"the model's log-probability of datum {start + datum} is {likelihood[..., datum].max():.3g}, but discrete "
            "data have probabilities of at most one; let the log_prob of its distribution be normalised"
        )


def _infinite(terms: Terms, start: int) -> str:
    """Which site makes a weight infinite, and for which datum."""
    datum = int((terms.weight == torch.inf).nonzero()[0][-1])
    for name, log_q in terms.proposal.items():
        if (log_q[..., datum] == -torch.inf).any():
            return (
                f"the guide draws a value of site {name!r} for datum {start + datum} that has density zero under the "
                "guide itself, as where draws are rounded to the end of a support; use float64, or bound its parameters"
            )
    culprits = [f"site {name!r}" for name, log_p in terms.prior.items() if (log_p[..., datum] == torch.inf).any()]
    return unbounded(culprits[0] if culprits else "the observation", start + datum, "latents that the guide draws")


def unbounded(what: str, datum: int, where: str) -> str:
    """That a density of the model is infinite, and the remedy."""
    return (
        f"the density of {what} is infinite for datum {datum} at {where}, so that the evidence is not finite; keep "
        "scales above a least value, and values off the end of the support"
    )


ROUNDING = 1e-6
"""Relative difference of log-weights that rounding in single precision makes."""


def from_log_weights(weights: Tensor, distinct: Tensor, *, smooth: bool = False) -> Evidence:
    """Returns ELBO, importance-weighted evidence and gap from log-weights.

    Standard errors are those of the mean over samples, for the evidence and the gap by the delta method. Weights that
    are constant over different samples have a k-hat of minus infinity; where all samples are the same, it is unknown.

    Arguments:
        weights: Log-weights, ``(draws, data)``, in nats.
        distinct: Whether the samples of a datum are not all the same, ``(data,)``.
        smooth: Whether to replace the largest weights by quantiles of a Pareto distribution.
    """
    draws, (weights, elbo) = len(weights), sampled_elbo_of(weights)
    evidence, error = log_mean_exp(weights)
    # ELBO and evidence share their draws, so the error of the gap is that of the difference per draw.
    high = weights.amax(0).clamp(min=torch.finfo(weights.dtype).min)
    relative = (weights - evidence.clamp(min=torch.finfo(weights.dtype).min)).exp()
    gap_error = torch.where(elbo.pointwise.isfinite(), (relative - weights).std(0) / draws**0.5, 0)
    constant = weights.amax(0) - weights.amin(0) <= ROUNDING * high.abs().clamp(min=1)
    shape = torch.where(constant, torch.where(distinct, -torch.inf, torch.nan), k_hat(weights))
    method, bound = method_and_bound(draws, smooth)
    lower, upper = None, leave_one_out(weights)
    if smooth:
        lower = Estimate(evidence, method_and_bound(draws, False)[0], "lower", draws, error)
        evidence = smoothed(weights).logsumexp(0) - log(draws)
    return Evidence(
        elbo,
        Estimate(evidence, method, bound, draws, error, shape, lost=elbo.lost, upper=upper, lower=lower),
        Estimate(evidence - elbo.pointwise, method, bound, draws, gap_error),
    )


def sampled_elbo_of(weights: Tensor) -> tuple[Tensor, Estimate]:
    """Returns log-weights, ``(draws, data)``, with minus infinity for those that are undefined, and their ELBO."""
    draws, undefined = len(weights), weights.isnan()
    lost = int(undefined.sum())
    if lost:
        # Without it the bound is lower, and still one.
        weights = weights.masked_fill(undefined, -torch.inf)
    elbo = weights.mean(0)
    error = torch.where(elbo.isfinite(), weights.std(0) / draws**0.5, 0)
    return weights, Estimate(elbo, f"{draws} draws", "unbiased", draws, error, lost=lost)


def method_and_bound(draws: int, smooth: bool) -> tuple[str, Bound]:
    """Returns the name and the direction of importance sampling with these draws, Pareto-smoothed or not."""
    if smooth:
        return f"Pareto-smoothed importance, {draws} draws", "approximate"
    return f"importance, {draws} draws", "lower"


def log_mean_exp(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Log of the mean weight and its standard error by the delta method, ``(data,)`` each, from ``(draws, data)``."""
    high = weights.amax(0).clamp(min=torch.finfo(weights.dtype).min)
    ratio = (weights - high).exp()
    mean = ratio.mean(0)
    return high + mean.log(), torch.where(mean > 0, ratio.std(0) / mean / len(weights) ** 0.5, 0)


LEAST_BOUND_DRAWS = 100
"""Smallest number of samples for the ELBO where the evidence needs fewer."""


def sampled_bound(model: Program, guide: Program, x: Batch, draws: int) -> Estimate:
    """Returns the ELBO of each datum from at least :data:`LEAST_BOUND_DRAWS` samples."""
    draws = max(draws, LEAST_BOUND_DRAWS)
    blocks = log_weights(model, guide, x, draws)
    return Estimate.join([sampled_elbo_of(block.weights)[1] for block in blocks])


def with_sampled_bound(exact: Estimate, model: Program, guide: Program, x: Batch, draws: int) -> Evidence:
    """Returns exact evidence with ELBO and gap from samples."""
    elbo = sampled_bound(model, guide, x, draws)
    method = f"{exact.method}, {elbo.draws} draws"
    gap = Estimate(exact.pointwise - elbo.pointwise, method, "unbiased", elbo.draws, elbo.pointwise_se)
    return Evidence(elbo, exact, gap)

"""Importance weights of a mixture of guide and prior, which does not share the guide's blind spots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import reduce
from math import ceil, log

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import (
    Weights,
    from_log_weights,
    log_mean_exp,
    log_weights,
    method_and_bound,
    sampled_elbo_of,
)
from ppl_vae.evidence.leave_one_out import leave_one_out, stratified
from ppl_vae.evidence.psis import k_hat, smoothed
from ppl_vae.evidence.rare_parts import with_flat_prior
from ppl_vae.evidence.results import Evidence
from ppl_vae.evidence.several_proposals import mixture_errors
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.programs.blocks import rows_at_once
from ppl_vae.programs.log_weight import log_parts, log_proposal, prior_terms
from ppl_vae.programs.repeated import RepeatedGuide
from ppl_vae.programs.types import Program, Progress

__all__ = [
    "check_share",
    "constant",
    "defensive_importance",
    "defensive_shortfall",
    "from_mixture",
    "mixtures",
    "with_true",
]


def check_share(prior_share: float) -> None:
    """Refuses a number of samples of the prior per sample of the guide that is none.

    Raises:
        ValueError: If it is not from 0 to 10.
    """
    if not 0 <= prior_share <= 10:
        raise ValueError(f"prior_share is a number from 0 to 10, got {prior_share}")


def defensive_importance(
    model: Program,
    guide: Program,
    x: Batch,
    draws: int,
    share: float,
    progress: Progress | None = None,
    *,
    smooth: bool = False,
) -> Evidence:
    r"""Returns ELBO and importance-weighted evidence from samples of the guide and some of the prior.

    .. math:: w(z) = \frac{p(x, z)}{\alpha\, q(z \mid x) + (1 - \alpha)\, p(z)}

    with :math:`\alpha` the guide's share of all samples: the defensive mixture of Hesterberg (1995) with the balance
    heuristic of Veach and Guibas (1995). The mean weight is unbiased as that of the guide alone, but no weight exceeds
    :math:`p(x \mid z) / (1 - \alpha)`, and what the guide leaves out is found where the prior has mass. The ELBO is
    that of the guide's samples alone, and so is the evidence where log-weights are constant over samples of both.

    Arguments:
        model: The model.
        guide: Its guide.
        x: A block of data.
        draws: Samples of the guide per datum.
        share: Samples of the prior per sample of the guide.
        progress: Called with the number of cells done since the last call.
        smooth: Whether to replace the largest weights by quantiles of a Pareto distribution.
    """
    return Evidence.join(
        [
            from_log_weights(block.weights, block.distinct, smooth=smooth)
            if mixed is None or bool(everywhere.all())
            else from_mixture(block.weights, mixed, constant(block.weights) & block.distinct, smooth=smooth)
            for block, mixed, everywhere in mixtures(model, guide, x, draws, share, progress)
        ]
    )


def defensive_shortfall(
    model: Program, guide: Program, x: Batch, posterior: Mapping[str, Tensor], draws: int, share: float, smooth: bool
) -> Shortfall:
    r"""Upper minus lower bound of :func:`defensive_importance` for simulated data.

    In the upper bound the posterior sample :math:`z^*` takes the place of a sample of the guide with probability
    :math:`\alpha q(z^*) / (\alpha q(z^*) + (1 - \alpha) p(z^*))`, else of one of the prior: then the inverse of the
    mean weight has the mean 1 / p(x).
    """
    model = with_flat_prior(model, x, 0.5) if share else model
    values = {name: value[None] for name, value in posterior.items()}
    likelihood, prior = log_parts(model, x, values)
    log_ratio = reduce(torch.add, prior.values()) - log_proposal(guide, x, values)
    true = (likelihood.expand(1, len(x)), log_ratio.expand(1, len(x)))
    columns, shapes, bounds = list[Tensor](), list[Tensor](), list[Tensor]()
    done = uncovered = 0
    for block, mixed, everywhere in mixtures(model, guide, x, draws, share):
        place = slice(done, done + block.weights.shape[1])
        done = place.stop
        at, ratio = (part[:, place].to(block.weights) for part in true)
        lower = block.weights if mixed is None or everywhere.all() else mixed
        if lower is block.weights:
            both = torch.cat([at + ratio, lower[1:]])
        else:
            assert mixed is not None
            both = with_true(mixed, at, ratio, draws)
            uncovered += int((mixed[draws:].logsumexp(0) > mixed[:draws].logsumexp(0)).sum())
        total = (smoothed(lower) if smooth else lower).logsumexp(0)
        bounds.append(total - log(len(lower)))
        columns.append(both.logsumexp(0) - total)
        shapes.append(k_hat(lower))
    return Shortfall(torch.cat(columns), torch.cat(shapes), uncovered, torch.cat(bounds))


def mixtures(
    model: Program, guide: Program, x: Batch, draws: int, share: float, progress: Progress | None = None
) -> Iterator[tuple[Weights, Tensor | None, Tensor]]:
    """Weights of the guide's samples and log-weights under the mixture, ``(draws of both, data)``, block by block.

    None takes the place of the mixture where no samples of the prior are asked for, or where the guide cannot score
    them. Last whether the log-weights under the guide alone are the same at all samples of both, ``(data,)``.
    """
    priors, done = ceil(share * draws), 0
    model = with_flat_prior(model, x, 0.5) if priors else model
    for block in log_weights(model, guide, x, draws, progress, ratio=priors > 0):
        place = slice(done, done + block.weights.shape[1])
        done = place.stop
        if block.ratio is None:
            yield block, None, constant(block.weights)
            continue
        try:
            likelihood, ratio = _of_prior(model, guide, x[place], priors)
        except (ValueError, RuntimeError, KeyError, NotImplementedError):
            # The guide cannot score the prior's samples, as with another support: its own give a bound, too.
            yield block, None, constant(block.weights)
            continue
        likelihood, ratio = likelihood.to(block.weights), ratio.to(block.weights)
        total = log(draws + priors)
        of_guide = block.weights - block.ratio - _log_share_of_prior(block.ratio, draws, priors) + total
        of_prior = likelihood - _log_share_of_prior(ratio, draws, priors) + total
        yield block, torch.cat([of_guide, of_prior]), constant(torch.cat([block.weights, likelihood + ratio]))


def with_true(mixed: Tensor, likelihood: Tensor, ratio: Tensor, draws: int) -> Tensor:
    """Log-weights under the mixture with a sample of the posterior in place of one of the guide or of the prior.

    Arguments:
        mixed: Log-weights under the mixture, first of the guide's samples, then of the prior's.
        likelihood: log p(x given z) of the posterior's sample, ``(1, data)``.
        ratio: Its log p(z) - log q(z given x), ``(1, data)``.
        draws: Number of the guide's samples.
    """
    priors, both = len(mixed) - draws, mixed.clone()
    weight = likelihood - _log_share_of_prior(ratio, draws, priors) + log(len(mixed))
    by_guide = torch.rand_like(ratio) < torch.sigmoid(log(draws / priors) - ratio)
    both[0] = torch.where(by_guide, weight, mixed[:1])[0]
    both[draws] = torch.where(by_guide, mixed[draws : draws + 1], weight)[0]
    return both


def constant(weights: Tensor) -> Tensor:
    """Whether log-weights of a datum are the same but for rounding in single precision, ``(data,)``."""
    return weights.amax(0) - weights.amin(0) <= 1e-4 * (1 + weights[0].abs())


def _log_share_of_prior(ratio: Tensor, guides: int, priors: int) -> Tensor:
    """log of (guides q + priors p) / p at samples whose log p(z) - log q(z given x) is given."""
    return torch.logaddexp(log(guides) - ratio, ratio.new_tensor(log(priors)))


def _of_prior(model: Program, guide: Program, x: Batch, draws: int) -> tuple[Tensor, Tensor]:
    """log p(x given z) and log p(z) - log q(z given x) of samples from the prior, ``(draws, data)`` each."""
    step, score = max(1, rows_at_once(x) // len(x)), RepeatedGuide(guide, x).score
    likelihoods, ratios = [], []
    for done in range(0, draws, step):
        terms = prior_terms(model, score, x, min(step, draws - done))
        likelihoods.append(terms.likelihood)
        ratios.append(terms.ratio.expand(terms.likelihood.shape))
    return torch.cat(likelihoods), torch.cat(ratios)


def from_mixture(weights: Tensor, mixed: Tensor, same: Tensor, *, smooth: bool = False) -> Evidence:
    """ELBO from the log-weights of the guide's samples, ``(draws, data)``, and evidence from those of the mixture.

    Arguments:
        weights: Log-weights of the guide's samples under the guide alone.
        mixed: Log-weights under the mixture, first of the guide's samples, then of the prior's.
        same: Whether a datum has the same log-weight under the guide at all samples of it, ``(data,)``.
        smooth: Whether to replace the largest weights by quantiles of a Pareto distribution.
    """
    weights, elbo = sampled_elbo_of(weights)
    guides, everything = len(weights), len(mixed)
    mixed = mixed.masked_fill(mixed.isnan(), -torch.inf)
    evidence, _ = log_mean_exp(mixed)
    relative = (mixed - evidence.clamp(min=torch.finfo(mixed.dtype).min)).exp()
    of_prior, sizes = relative[guides:], [guides, everything - guides]
    se, gap_se = mixture_errors(relative, weights, sizes)
    uncovered = int((of_prior.sum(0) > 0.5 * everything).sum())
    upper, lower = leave_one_out(stratified(mixed, sizes)), None
    if smooth:
        lower = Estimate(evidence, method_and_bound(guides, False)[0], "lower", guides, se)
        evidence = smoothed(mixed).logsumexp(0) - log(everything)
    name, bound = method_and_bound(guides, smooth)
    method, shape = f"{name} and {len(of_prior)} of the prior", k_hat(mixed).masked_fill(same, -torch.inf)
    found = Estimate(evidence, method, bound, guides, se, shape, lost=elbo.lost, uncovered=uncovered, upper=upper)
    return Evidence(
        elbo,
        replace(found, lower=lower),
        Estimate(evidence - elbo.pointwise, method, bound, guides, torch.where(elbo.pointwise.isfinite(), gap_se, 0)),
    )

"""Importance weights under a mixture of several proposals, which is as good as its best part for every datum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import log_mean_exp, sampled_elbo_of, unbounded
from ppl_vae.evidence.leave_one_out import leave_one_out, stratified
from ppl_vae.evidence.psis import k_hat
from ppl_vae.evidence.rare_parts import with_flat_prior
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.blocks import rows_at_once
from ppl_vae.programs.log_weight import log_parts, log_proposal, prior_terms, terms_of
from ppl_vae.programs.repeated import RepeatedGuide
from ppl_vae.programs.types import Program, Progress

__all__ = ["Proposal", "evidence_of", "mixture_errors", "mixture_weights", "with_posterior"]


class Proposal(NamedTuple):
    """A part of the mixture.

    Arguments:
        program: Draws the latents; None for the prior.
        draws: Its number of samples per datum.
    """

    program: Program | None
    draws: int


def mixture_weights(
    model: Program, x: Batch, proposals: Sequence[Proposal], progress: Progress | None = None
) -> tuple[Tensor, Tensor]:
    r"""Returns log-weights under the mixture of samples from each proposal, and those of the first under itself.

    .. math:: w(z) = \frac{p(x, z)}{\sum_k \alpha_k\, q_k(z)}, \qquad \alpha_k = n_k / \sum_j n_j

    for :math:`n_k` samples of each :math:`q_k`: the balance heuristic (Veach and Guibas 1995; Owen and Zhou 2000). The
    mean weight is unbiased for p(x), and no weight exceeds that under proposal k by more than :math:`1 / \alpha_k`.

    Arguments:
        model: The model.
        x: A block of data.
        proposals: The parts of the mixture, the first of them no prior; drawn independently of their fit.
        progress: Called with the number of (sample, datum) cells done since the last call.

    Returns:
        ``(draws of all, data)`` in the order of the proposals, and ``(draws of the first, data)``, in float64.
    """
    total, step = sum(part.draws for part in proposals), max(1, rows_at_once(x) // len(x))
    first = proposals[0].program
    assert first is not None
    model = _with_prior(model, x, proposals)
    repeated = [RepeatedGuide(part.program or first, x) for part in proposals]
    mixed, own = [], []
    for position, part in enumerate(proposals):
        for done in range(0, part.draws, step):
            draws = min(step, part.draws - done)
            if part.program is None:
                terms = prior_terms(model, repeated[0].score, x, draws)
            else:
                terms = terms_of(model, x, repeated[position].draw(draws))
            prior = reduce(torch.add, terms.prior.values())
            scored = part.program or first
            known = {id(scored): reduce(torch.add, terms.proposal.values())}
            scores = _scores(proposals, x, terms.values, prior, known)
            joint = (terms.likelihood + prior).double()
            mixed.append(_weight(joint, scores, proposals, total))
            if position == 0:
                own.append(terms.weight.double())
            if progress:
                progress(draws * len(x))
    weights = torch.cat([each.expand(-1, len(x)) for each in mixed])
    if (weights == torch.inf).any():
        datum = int((weights == torch.inf).nonzero()[0][-1])
        raise ValueError(unbounded("the model", datum, "some latents"))
    return weights, torch.cat([each.expand(-1, len(x)) for each in own])


def with_posterior(
    model: Program, x: Batch, proposals: Sequence[Proposal], weights: Tensor, posterior: Mapping[str, Tensor]
) -> Tensor:
    r"""Returns the log-weights with a sample of the posterior in place of one, ``(draws of all, data)``.

    It replaces a sample of proposal k with probability :math:`\alpha_k q_k(z^*) / \sum_j \alpha_j q_j(z^*)`: then the
    inverse of the mean weight has the mean 1 / p(x), and its logarithm is an upper bound.

    Arguments:
        model: The model.
        x: Data simulated from the model.
        proposals: The parts of the mixture.
        weights: Log-weights of :func:`mixture_weights`, ``(draws of all, data)``.
        posterior: The latents the data were generated from, by site, ``(data, *event)``.
    """
    values = {name: value[None] for name, value in posterior.items()}
    model = _with_prior(model, x, proposals)
    likelihood, parts = log_parts(model, x, values)
    prior = reduce(torch.add, parts.values())
    scores = _scores(proposals, x, values, prior, {})
    total = sum(part.draws for part in proposals)
    weight = _weight((likelihood + prior).double(), scores, proposals, total).expand(1, len(x))[0]
    shares = torch.stack([each + log(part.draws) for each, part in zip(scores, proposals, strict=True)])
    chosen = torch.distributions.Categorical(logits=shares.expand(-1, 1, len(x))[:, 0].T).sample()
    starts = torch.tensor([part.draws for part in proposals]).cumsum(0) - torch.tensor([p.draws for p in proposals])
    replaced = weights.clone()
    replaced[starts.to(chosen.device)[chosen], torch.arange(len(x), device=chosen.device)] = weight
    return replaced


def evidence_of(weights: Tensor, own: Tensor, proposals: Sequence[Proposal], method: str) -> Evidence:
    """Returns ELBO and evidence from the results of :func:`mixture_weights`."""
    own, elbo = sampled_elbo_of(own)
    lost = int(weights.isnan().sum())
    weights = weights.masked_fill(weights.isnan(), -torch.inf)
    evidence, _ = log_mean_exp(weights)
    relative = (weights - evidence.clamp(min=torch.finfo(weights.dtype).min)).exp()
    sizes, total = [part.draws for part in proposals], len(weights)
    se, gap_se = mixture_errors(relative, own, sizes)
    upper = leave_one_out(stratified(weights, sizes))
    return Evidence(
        elbo,
        Estimate(evidence, method, "lower", total, se, k_hat(weights), lost=lost, upper=upper),
        Estimate(evidence - elbo.pointwise, method, "lower", total, torch.where(elbo.pointwise.isfinite(), gap_se, 0)),
    )


def mixture_errors(relative: Tensor, own: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Standard errors of evidence and gap from samples of a mixture, ``(data,)`` each.

    Each part's samples have a mean of their own; only the deviations from it are noise.

    Arguments:
        relative: Weights under the mixture over their mean, part after part, ``(draws of all, data)``.
        own: Log-weights of the first part's samples, which evidence and ELBO share, ``(draws of the first, data)``.
        sizes: Number of samples of each part.
    """
    groups, total = relative.split(list(sizes)), len(relative)
    noise = torch.stack([len(group) * group.var(0, correction=int(len(group) > 1)) for group in groups])
    paired = sizes[0] / total * groups[0] - own
    return noise.sum(0).sqrt() / total, (paired.var(0) / sizes[0] + noise[1:].sum(0) / total**2).sqrt()


def _with_prior(model: Program, x: Batch, proposals: Sequence[Proposal]) -> Program:
    """The model with the prior that is a proposal: flattened, so that its rare parts are not missed."""
    return with_flat_prior(model, x, 0.5) if any(part.program is None for part in proposals) else model


def _scores(
    proposals: Sequence[Proposal],
    x: Batch,
    values: Mapping[str, Tensor],
    prior: Tensor,
    known: Mapping[int, Tensor],
) -> list[Tensor]:
    """Log-density of latents under each proposal, ``(draws, data)``; known ones by the identity of the program."""
    scores = []
    for part in proposals:
        score = prior if part.program is None else known.get(id(part.program))
        scores.append(log_proposal(part.program, x, values) if score is None and part.program else score)
    return [score.double() for score in scores if score is not None]


def _weight(joint: Tensor, scores: Sequence[Tensor], proposals: Sequence[Proposal], total: int) -> Tensor:
    """Log-weights under the mixture, ``(draws, data)``."""
    parts = [score + log(part.draws / total) for score, part in zip(scores, proposals, strict=True)]
    return joint - torch.stack(torch.broadcast_tensors(*parts)).logsumexp(0)

"""Evidence by importance sampling of continuous latents, the discrete ones summed out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from math import ceil, log, prod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.conditioning import discrete, each_state, given, mixed_obstacle
from ppl_vae.evidence.defensive import check_share, constant, from_mixture, mixtures, with_true
from ppl_vae.evidence.importance import from_log_weights, sampled_bound
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.methods.importance import constant_rows, covered, whose_weights
from ppl_vae.evidence.psis import k_hat
from ppl_vae.evidence.rare_parts import with_flat_prior
from ppl_vae.evidence.results import Evidence
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.programs.log_weight import log_parts, log_proposal
from ppl_vae.programs.sites import GuideSite, model_sites
from ppl_vae.programs.types import Program, Progress

__all__ = ["MixedImportance"]

AFFORDABLE = 2**6
"""Most states for which the method is in the automatic choice; each has as many samples as are asked for."""


@dataclass(frozen=True)
class MixedImportance(EvidenceMethod):
    r"""A lower bound for discrete latents beside others: a sum over the discrete, importance weights of the others.

    .. math::

        \log p(x) \approx \log \frac1S \sum_{s=1}^S \sum_k \frac{p(x, k, w_{sk})}{q(w_{sk} \mid x, k)}, \qquad
        w_{sk} \sim q(w \mid x, k)

    The guide's choice of the discrete latents, and what it misses there, has no part in it (Rao and Blackwell).

    A tenth as many samples of the prior of the others are added, and all weights are those of the mixture of both: what
    the guide leaves out given a state, such as one that it never drew, is then found where the prior has mass.

    Arguments:
        draws: Samples of the guide per datum and state.
        most_bits: Longest code to enumerate.
        prior_share: Samples of the prior per sample of the guide; 0 for none.
    """

    exact: ClassVar[bool] = False
    priority: ClassVar[int] = 5
    fewest_draws: ClassVar[int] = 2

    most_bits: int = 16
    prior_share: float = 0.1

    def __post_init__(self) -> None:
        check_share(self.prior_share)

    def obstacle(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        return mixed_obstacle(sites, self.most_bits)

    def too_costly(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        states = prod(site.states for site in discrete(sites))
        return f"{states} states, each with samples, are taken only if requested" if states > AFFORDABLE else None

    def cost(self, x: Batch, sites: list[GuideSite]) -> int:
        return len(x) * self.draws * prod(site.states for site in discrete(sites))

    def measure(self, model: Program, guide: Program, x: Batch, sites: list[GuideSite], progress: Progress) -> Evidence:
        sums = self._sums(model, guide, x, sites, progress)
        if sums.mixed is None or bool((sums.everywhere & sums.distinct).all()):
            sampled = from_log_weights(sums.weights, sums.distinct).evidence
        else:
            sampled = from_mixture(sums.weights, sums.mixed, sums.constant & sums.distinct).evidence
        states = prod(site.states for site in discrete(sites))
        evidence = replace(sampled, method=f"sum over {states} states, {sampled.method}")
        elbo = sampled_bound(model, guide, x, self.draws)
        return Evidence(elbo, evidence, evidence.minus(elbo))

    def conclude(self, model: Program, guide: Program, x: Batch, evidence: Evidence) -> Evidence:
        rows, priors = constant_rows(evidence), ceil(self.prior_share * self.draws)
        if not len(rows):
            return evidence
        if with_flat_prior(model, x, 0.5) is not model:
            priors //= 2  # which find a part of the prior as surely as twice as many of the flattened one
        whose = f"{whose_weights(rows, x)}, given each state of the discrete latents,"
        return evidence.noting(covered(whose, self.draws, priors))

    def shortfall(self, model: Program, guide: Program, x: Batch, posterior: Mapping[str, Tensor]) -> Shortfall:
        sites = model_sites(model, x)
        lower = self._sums(model, guide, x, sites, lambda cells: None)
        upper = self._sums(model, guide, x, sites, lambda cells: None, posterior)
        low, high = (
            each.weights if lower.mixed is None or upper.mixed is None else each.mixed for each in (lower, upper)
        )
        assert low is not None and high is not None
        total = low.logsumexp(0)
        return Shortfall(high.logsumexp(0) - total, k_hat(low), lower=total - log(len(low)))

    def _sums(
        self,
        model: Program,
        guide: Program,
        x: Batch,
        sites: list[GuideSite],
        progress: Progress,
        posterior: Mapping[str, Tensor] | None = None,
    ) -> _Sums:
        """Log-weights summed over the states; a sample of the posterior, ``(data, *event)``, is among them if given."""
        listed, total = discrete(sites), None
        for values in each_state(listed, model, x):
            one, q = given(model, guide, values)
            p = with_flat_prior(one, x, 0.5) if self.prior_share else one
            blocks = list(mixtures(p, q, x, self.draws, self.prior_share, progress))
            weights = torch.cat([block.weights for block, _, _ in blocks], 1)
            weights = weights.masked_fill(weights.isnan(), -torch.inf)
            parts = [mixed for _, mixed, _ in blocks if mixed is not None]
            mixed = torch.cat(parts, 1) if len(parts) == len(blocks) else None
            if posterior is not None:
                here = torch.stack(
                    [(posterior[name] == v[0]).reshape(len(x), -1).all(-1) for name, v in values.items()]
                ).all(0)
                rest = {name: value[None] for name, value in posterior.items() if name not in values}
                likelihood, prior = log_parts(p, x, rest)
                ratio = reduce(torch.add, prior.values()) - log_proposal(q, x, rest)
                likelihood, ratio = (each.expand(1, len(x)).to(weights) for each in (likelihood, ratio))
                weights[:1] = torch.where(here, likelihood + ratio, weights[:1])
                if mixed is not None:
                    mixed = torch.where(here, with_true(mixed, likelihood, ratio, self.draws), mixed)
            sums = _Sums(
                weights,
                None if mixed is None else mixed.masked_fill(mixed.isnan(), -torch.inf),
                torch.cat([constant(block.weights) for block, _, _ in blocks]),
                torch.cat([everywhere for _, _, everywhere in blocks]),
                torch.cat([block.distinct for block, _, _ in blocks]),
            )
            total = sums if total is None else total.plus(sums)
        assert total is not None
        return total


class _Sums(NamedTuple):
    """Log-weights summed over states.

    Arguments:
        weights: Those of the guide's samples under the guide alone, ``(draws, data)``.
        mixed: Those of samples of guide and prior under their mixture, ``(draws of both, data)``; None where the guide
            cannot score the prior's.
        constant: Whether those of the guide's samples under the guide alone are constant for every state, ``(data,)``.
        everywhere: Whether those of the prior's samples are the same, too, ``(data,)``.
        distinct: Whether the samples of a datum differ, ``(data,)``.
    """

    weights: Tensor
    mixed: Tensor | None
    constant: Tensor
    everywhere: Tensor
    distinct: Tensor

    def plus(self, other: _Sums) -> _Sums:
        mixed = None if self.mixed is None or other.mixed is None else torch.logaddexp(self.mixed, other.mixed)
        return _Sums(
            torch.logaddexp(self.weights, other.weights),
            mixed,
            self.constant & other.constant,
            self.everywhere & other.everywhere,
            self.distinct | other.distinct,
        )

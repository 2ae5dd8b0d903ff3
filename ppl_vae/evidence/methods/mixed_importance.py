"""Evidence by importance sampling of continuous latents, the discrete ones summed out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log, prod
from typing import ClassVar

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.conditioning import discrete, each_state, given, mixed_obstacle
from ppl_vae.evidence.importance import from_log_weights, log_weights, sampled_bound
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.results import Evidence
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.programs.log_weight import log_joint, log_proposal
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

    Arguments:
        draws: Samples per datum and state.
        most_bits: Longest code to enumerate.
    """

    exact: ClassVar[bool] = False
    priority: ClassVar[int] = 5
    fewest_draws: ClassVar[int] = 2

    most_bits: int = 16

    def obstacle(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        return mixed_obstacle(sites, self.most_bits)

    def too_costly(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        states = prod(site.states for site in discrete(sites))
        return f"{states} states, each with samples, are taken only if requested" if states > AFFORDABLE else None

    def cost(self, x: Batch, sites: list[GuideSite]) -> int:
        return len(x) * self.draws * prod(site.states for site in discrete(sites))

    def measure(self, model: Program, guide: Program, x: Batch, sites: list[GuideSite], progress: Progress) -> Evidence:
        weights, distinct = self._weights(model, guide, x, sites, progress)
        sampled = from_log_weights(weights, distinct).evidence
        states = prod(site.states for site in discrete(sites))
        evidence = replace(sampled, method=f"sum over {states} states, {sampled.method}")
        elbo = sampled_bound(model, guide, x, self.draws)
        return Evidence(elbo, evidence, evidence.minus(elbo))

    def shortfall(self, model: Program, guide: Program, x: Batch, posterior: Mapping[str, Tensor]) -> Shortfall:
        sites = model_sites(model, x)
        values = {name: value[None] for name, value in posterior.items()}
        fixed = {site.name: values.pop(site.name) for site in discrete(sites)}
        _, q = given(model, guide, fixed)
        true = (log_joint(model, x, values | fixed) - log_proposal(q, x, values)).expand(1, len(x))
        lower, _ = self._weights(model, guide, x, sites, lambda cells: None)
        upper, _ = self._weights(model, guide, x, sites, lambda cells: None, fixed, true)
        total = lower.logsumexp(0)
        return Shortfall(upper.logsumexp(0) - total, lower=total - log(len(lower)))

    def _weights(
        self,
        model: Program,
        guide: Program,
        x: Batch,
        sites: list[GuideSite],
        progress: Progress,
        fixed: Mapping[str, Tensor] | None = None,
        true: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-weights summed over the states, ``(draws, data)``, and whether the samples of a datum differ.

        Given states of the posterior, ``(1, data, *event)``, the first weight of each is the true one, ``(1, data)``.
        """
        total, distinct = torch.empty(0), torch.empty(0)
        for values in each_state(discrete(sites), model, x):
            blocks = list(log_weights(*given(model, guide, values), x, self.draws, progress))
            weights = torch.cat([block.weights for block in blocks], 1)
            weights = weights.masked_fill(weights.isnan(), -torch.inf)
            differ = torch.cat([block.distinct for block in blocks])
            if fixed is not None and true is not None:
                equal = [(v == values[name]).reshape(len(x), -1).all(-1) for name, v in fixed.items()]
                weights[:1] = torch.where(torch.stack(equal).all(0), true.to(weights), weights[:1])
            total = torch.logaddexp(total, weights) if len(total) else weights
            distinct = distinct | differ if len(distinct) else differ
        return total, distinct

"""Evidence by annealed importance sampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.ais import AIS, CHAINS, Schedule
from ppl_vae.evidence.bdmc import bounds
from ppl_vae.evidence.conditioning import each_state, given
from ppl_vae.evidence.coordinates import Coordinates
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import log_mean_exp, sampled_bound
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.results import Evidence
from ppl_vae.evidence.slack import Slack
from ppl_vae.programs.given import Given
from ppl_vae.programs.sites import GuideSite, guide_sites
from ppl_vae.programs.states import obstacle
from ppl_vae.programs.types import Program, Progress

__all__ = ["Annealing"]


@dataclass(frozen=True)
class Annealing(EvidenceMethod):
    """A lower bound for continuous latents and bits: chains that move from the guide to the posterior.

    Annealed importance sampling (Neal 2001): a lower bound in expectation, much tighter than that of importance
    sampling where the guide misses the posterior. Categorical latents beside others are summed over: every state has
    chains of its own.

    Arguments:
        draws: Annealed chains per datum.
        temperatures: Steps from the starting distribution to the posterior.
        leapfrog_steps: Leapfrog steps of a Hamiltonian move.
        start: Distribution that the chains start from.
        pilot: Share of the temperatures at which step sizes are tuned beforehand.
    """

    exact: ClassVar[bool] = False
    priority: ClassVar[int] = 30
    fewest_draws: ClassVar[int] = 2
    remedy: ClassVar[str] = "raise the temperatures, or start from the prior"

    draws: int = 16
    temperatures: int = 500
    leapfrog_steps: int = 5
    start: Literal["guide", "prior"] = "guide"
    pilot: float = 0.25

    @property
    def schedule(self) -> Schedule:
        """How to anneal."""
        return Schedule(self.temperatures, self.leapfrog_steps, self.start, self.pilot)

    def obstacle(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        summed = _summed(sites)
        if summed and (reason := obstacle(summed, MOST_BITS)):
            return reason
        # Refuses latents that have none, naming the site.
        Coordinates(Given(model, next(each_state(summed, model, x))) if summed else model, x)
        return None

    def cost(self, x: Batch, sites: list[GuideSite]) -> int:
        return len(x) * self.schedule.cells(self.draws) * prod(site.states for site in _summed(sites))

    def block(self, x: Batch) -> int:
        return max(1, min(len(x), CHAINS // self.draws))

    def measure(self, model: Program, guide: Program, x: Batch, sites: list[GuideSite], progress: Progress) -> Evidence:
        summed = _summed(sites)
        pairs = [given(model, guide, v) for v in each_state(summed, model, x)] if summed else [(model, guide)]
        chains = [AIS(p, q, x, self.schedule).forward(self.draws, progress) for p, q in pairs]
        weights = reduce(torch.logaddexp, chains)
        return _annealed(weights, sampled_bound(model, guide, x, self.draws), self.temperatures)

    def slack(self, model: Program, guide: Program, x: Batch, posterior: Mapping[str, Tensor]) -> Slack | None:
        if _summed(guide_sites(model, (x[:2],))):
            return None
        widths = []
        for start in range(0, len(x), self.block(x)):
            stop = min(start + self.block(x), len(x))
            values = {name: value[start:stop] for name, value in posterior.items()}
            widths.append(bounds(model, guide, x[start:stop], values, self.schedule, self.draws).width.pointwise)
        return Slack(torch.cat(widths))


MOST_BITS = 6
"""Most states, as bits, that have chains of their own."""


def _summed(sites: list[GuideSite]) -> list[GuideSite]:
    """The sites that are summed over: those with states, unless there are no others."""
    states = [site for site in sites if site.kind == "states"]
    return states if len(states) < len(sites) else []


def _annealed(weights: Tensor, elbo: Estimate, temperatures: int) -> Evidence:
    """Evidence and gap from the log-weights of annealed chains, ``(chains, data)``, beside an ELBO."""
    chains, (evidence, se) = len(weights), log_mean_exp(weights)
    method = f"annealing, {temperatures} temperatures, {chains} chains"
    assert elbo.pointwise_se is not None
    both = (se.square() + elbo.pointwise_se.square()).sqrt()
    return Evidence(
        elbo,
        Estimate(evidence, method, "lower", chains, se),
        Estimate(evidence - elbo.pointwise, method, "lower", chains, both),
    )

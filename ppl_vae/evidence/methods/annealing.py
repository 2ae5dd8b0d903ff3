"""Evidence by annealed importance sampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from math import hypot, log, prod
from typing import ClassVar

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.ais import AIS, Schedule, Start
from ppl_vae.evidence.bdmc import from_start, sandwich
from ppl_vae.evidence.conditioning import each_state, given
from ppl_vae.evidence.coordinates import Coordinates
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import sampled_bound
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.rare_parts import far_out
from ppl_vae.evidence.results import Evidence
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.evidence.starts import CERTAIN, LEAST, by_start, chosen, disagreement, few_weights, together
from ppl_vae.programs.given import Given
from ppl_vae.programs.sites import GuideSite, model_sites
from ppl_vae.programs.states import obstacle
from ppl_vae.programs.types import Program, Progress

__all__ = ["Annealing"]


@dataclass(frozen=True)
class Annealing(EvidenceMethod):
    """A lower bound for continuous latents and bits: chains that move from guide and prior to the posterior.

    Annealed importance sampling (Neal 2001): a lower bound in expectation, much tighter than that of importance
    sampling where the guide misses the posterior. Half of the chains start from the guide, half from the prior; the
    evidence is that of all of them, or of one start alone where that is better over all data, and a warning says where
    the two disagree (:mod:`ppl_vae.evidence.starts`). Categorical latents beside others are summed over: every state
    has chains of its own.

    Arguments:
        draws: Annealed chains per datum.
        temperatures: Steps from the starting distribution to the posterior.
        leapfrog_steps: Leapfrog steps of a Hamiltonian move.
        start: Distribution that the chains start from; both is half of them from each.
        pilot: Share of the temperatures at which step sizes are tuned beforehand.
    """

    exact: ClassVar[bool] = False
    priority: ClassVar[int] = 30
    fewest_draws: ClassVar[int] = 4
    bounds_of_check: ClassVar[int] = 2
    remedy: ClassVar[str] = "raise the temperatures (--temperatures, temperatures=)"

    draws: int = 16
    temperatures: int = 500
    leapfrog_steps: int = 5
    start: Start = "both"
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
        return min(len(x), self.schedule.block(self.draws))

    def measure(self, model: Program, guide: Program, x: Batch, sites: list[GuideSite], progress: Progress) -> Evidence:
        summed = _summed(sites)
        pairs = [given(model, guide, v) for v in each_state(summed, model, x)] if summed else [(model, guide)]
        weights = dict[str, Tensor]()
        for one, chains in self.schedule.shares(self.draws):
            walks = [AIS(from_start(p, x, one), q, x, one).forward(chains, progress) for p, q in pairs]
            weights[one.start] = reduce(torch.logaddexp, walks)
        starts = by_start(weights, f"annealing, {self.temperatures} temperatures", "lower")
        evidence, elbo = together(starts), sampled_bound(model, guide, x, self.draws)
        return Evidence(elbo, evidence, _gap(evidence, elbo), starts=starts if len(starts) > 1 else {})

    def conclude(self, model: Program, guide: Program, x: Batch, evidence: Evidence) -> Evidence:
        if not evidence.starts:
            line = few_weights(evidence.evidence)
            return evidence.noting(line) if line else evidence
        best, wide = chosen(evidence.starts), far_out(model, x)
        if wide is not None:
            best = replace(best, selection=log(2 + len(evidence.starts)))  # it might have been the wide prior
            higher, error = wide.mean - best.mean, hypot(wide.se, best.se)
            if higher > error + LEAST:
                note = (
                    f"draws of a wide prior reach {wide.mean:.3f}, the chains {best.mean:.3f}: these miss a part of "
                    f"the posterior to which no slope leads. The evidence is that of {wide.method}"
                )
                best = replace(wide, selection=best.selection, notes=(note,) if higher > CERTAIN * error else ())
                return replace(evidence, evidence=best, gap=_gap(best, evidence.elbo))
        lines = disagreement(evidence.starts, best), few_weights(best)
        notes = (*evidence.evidence.notes, *filter(None, lines))
        return replace(evidence, evidence=replace(best, notes=notes), gap=_gap(best, evidence.elbo))

    def shortfall(self, model: Program, guide: Program, x: Batch, posterior: Mapping[str, Tensor]) -> Shortfall | None:
        if summed := _summed(model_sites(model, x)):
            return Shortfall(self._width_of_sum(model, guide, x, posterior, summed))
        found = sandwich(model, guide, x, draws=self.draws, schedule=self.schedule, drawn_with=posterior)
        return Shortfall(found.width.pointwise, lower=found.lower.pointwise)

    def _width_of_sum(
        self, model: Program, guide: Program, x: Batch, posterior: Mapping[str, Tensor], summed: list[GuideSite]
    ) -> Tensor:
        """Upper minus lower bound of a sum over states, ``(data,)``.

        In the upper bound one chain of the state that the data come from goes backwards from their latents.
        """
        names = {site.name for site in summed}
        rest = {name: value for name, value in posterior.items() if name not in names}
        lowers, uppers = [], []
        for one, chains in self.schedule.shares(self.draws):
            below, above = list[Tensor](), list[Tensor]()
            for values in each_state(summed, model, x):
                p, q = given(model, guide, values)
                forward, backward = AIS(from_start(p, x, one), q, x, one).both(rest, chains)
                equal = [(posterior[n] == v[0]).reshape(len(x), -1).all(-1) for n, v in values.items()]
                here = torch.stack(equal).all(0)
                below.append(forward)
                above.append(torch.cat([torch.where(here, backward[:1], forward[:1]), forward[1:]]))
            lowers.append(reduce(torch.logaddexp, below))
            uppers.append(reduce(torch.logaddexp, above))
        # One of all chains is replaced, whatever its start: the first of a start as often as that has chains.
        shares = torch.tensor([float(len(lower)) for lower in lowers])
        start = torch.distributions.Categorical(shares).sample((len(x),)).to(lowers[0].device)
        upper = torch.cat(
            [torch.where(start == k, up, low) for k, (low, up) in enumerate(zip(lowers, uppers, strict=True))]
        )
        return upper.logsumexp(0) - torch.cat(lowers).logsumexp(0)


MOST_BITS = 6
"""Most states, as bits, that have chains of their own."""


def _summed(sites: list[GuideSite]) -> list[GuideSite]:
    """The sites that are summed over: those with states, unless there are no others."""
    states = [site for site in sites if site.kind == "states"]
    return states if len(states) < len(sites) else []


def _gap(evidence: Estimate, elbo: Estimate) -> Estimate:
    """Annealed evidence minus an ELBO from other draws."""
    return replace(evidence.minus(elbo), bound="lower", method=evidence.method, draws=evidence.draws)

"""Evidence by annealed importance sampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ppl_vae.data.counts import Batch
from ppl_vae.evidence.ais import AIS, CHAINS, Schedule
from ppl_vae.evidence.coordinates import Coordinates
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import log_mean_exp, sampled_bound
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.sites import GuideSite
from ppl_vae.programs.types import Program, Progress

__all__ = ["Annealing"]


@dataclass(frozen=True)
class Annealing(EvidenceMethod):
    """A lower bound for continuous latents and bits: chains that move from the guide to the posterior.

    Annealed importance sampling (Neal 2001): a lower bound in expectation, much tighter than that of importance
    sampling where the guide misses the posterior.

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
        Coordinates(model, x)  # refuses latents that have none
        return None

    def cost(self, x: Batch, sites: list[GuideSite]) -> int:
        return len(x) * self.schedule.cells(self.draws)

    def block(self, x: Batch) -> int:
        return max(1, min(len(x), CHAINS // self.draws))

    def measure(self, model: Program, guide: Program, x: Batch, sites: list[GuideSite], progress: Progress) -> Evidence:
        weights = AIS(model, guide, x, self.schedule).forward(self.draws, progress)
        return _annealed(weights, sampled_bound(model, guide, x, self.draws), self.temperatures)

    def slack(self, model: Program, guide: Program, x: Batch, posterior: Mapping[str, Tensor]) -> Tensor:
        widths = []
        for start in range(0, len(x), self.block(x)):
            stop = min(start + self.block(x), len(x))
            values = {name: value[start:stop] for name, value in posterior.items()}
            forward, backward = AIS(model, guide, x[start:stop], self.schedule).both(values, self.draws)
            widths.append(-log_mean_exp(-backward)[0] - log_mean_exp(forward)[0])
        return torch.cat(widths)


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

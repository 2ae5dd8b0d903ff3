"""Evidence by a sum over discrete latents of exact evidence given their state."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.conditioning import discrete, each_state, mixed_obstacle
from ppl_vae.evidence.coordinates import Coordinates
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import with_sampled_bound
from ppl_vae.evidence.methods.base import EvidenceMethod, NotApplicableError
from ppl_vae.evidence.methods.closed_form import gaussian_posterior, is_gaussian
from ppl_vae.evidence.methods.quadrature import Quadrature, quadrature
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.given import Given
from ppl_vae.programs.sites import GuideSite
from ppl_vae.programs.types import Program, Progress

__all__ = ["Mixed"]

AFFORDABLE = 2**8
"""Most states for which the method is in the automatic choice."""


@dataclass(frozen=True)
class Mixed(EvidenceMethod):
    r"""Exact for discrete latents beside continuous ones that are Gaussian given them, or one or two numbers.

    .. math:: \log p(x) = \log \sum_k \int p(x, k, w)\, \mathrm{d} w

    The discrete latents k are enumerated; given each of their states the others are integrated out in closed form, or
    by quadrature. A mixture of factor analysers is of the first kind, a mixture of Gaussians behind a network with one
    or two inputs of the second.

    Arguments:
        draws: Samples per datum of the ELBO.
        most_bits: Longest code to enumerate.
    """

    exact: ClassVar[bool] = True
    priority: ClassVar[int] = 40

    most_bits: int = 16

    def obstacle(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        if reason := mixed_obstacle(sites, self.most_bits):
            return reason
        first = Given(model, next(each_state(discrete(sites), model, x)))
        Coordinates(first, x)  # refuses latents that have none, naming the site
        if is_gaussian(first, x) is None:
            return None
        others = [site for site in sites if site not in discrete(sites)]
        reason = Quadrature().obstacle(first, x, others)
        return f"{reason}, given the discrete ones, and log p(x, z) is not quadratic in them" if reason else None

    def concerns(self, sites: list[GuideSite]) -> bool:
        return 0 < len(discrete(sites)) < len(sites)

    def too_costly(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        states = prod(site.states for site in discrete(sites))
        if states > AFFORDABLE:
            return f"the sum over {states} states, one by one, is done only if requested"
        first = Given(model, next(each_state(discrete(sites), model, x)))
        reason = Quadrature().too_costly(first, x, sites)
        return None if reason is None or is_gaussian(first, x) is None else reason

    def reason(self, sites: list[GuideSite]) -> str:
        states = prod(site.states for site in discrete(sites))
        return f"given each of {states} states of the discrete latents, the others can be integrated out"

    def cost(self, x: Batch, sites: list[GuideSite]) -> int:
        return len(x) * prod(site.states for site in discrete(sites))

    def measure(self, model: Program, guide: Program, x: Batch, sites: list[GuideSite], progress: Progress) -> Evidence:
        parts = []
        for values in each_state(discrete(sites), model, x):
            parts.append(_integrated(Given(model, values), x))
            progress(len(x))
        notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
        inside = " or ".join(dict.fromkeys(part.method for part in parts))
        evidence = Estimate(
            torch.stack([part.pointwise for part in parts]).logsumexp(0),
            f"sum over {len(parts)} states, {inside}",
            "approximate" if any(part.bound != "exact" for part in parts) else "exact",
            notes=notes,
        )
        return with_sampled_bound(evidence, model, guide, x, self.draws)


def _integrated(model: Given, x: Batch) -> Estimate:
    """log p(x, k) of each datum, the other latents integrated out.

    Raises:
        NotApplicableError: If that is impossible given this state, although it is possible given the first one.
    """
    with suppress(NotApplicableError):
        return Estimate(gaussian_posterior(model, x)[-1], "closed form", "exact")
    try:
        return quadrature(model, x)
    except ValueError as error:
        raise NotApplicableError(f"{error}, given some states of the discrete ones") from error

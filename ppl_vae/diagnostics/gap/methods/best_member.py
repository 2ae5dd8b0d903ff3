"""Evidence by importance sampling from the best members of the guide's family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import ClassVar

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.gap.family_members import members_of
from ppl_vae.diagnostics.gap.gradient_ascent import ascents_at_once, optimal_member
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.psis import k_hat
from ppl_vae.evidence.results import Evidence
from ppl_vae.evidence.several_proposals import Proposal, evidence_of, mixture_weights, with_posterior
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.programs.handlers import run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite
from ppl_vae.programs.types import Program, Progress
from ppl_vae.programs.unobserved import check_none

__all__ = ["BestMember"]


@dataclass(frozen=True)
class BestMember(EvidenceMethod):
    r"""A lower bound for guides of a known family: importance sampling from members fitted to each datum.

    Gradient ascents on the ELBO of each datum alone, from the guide's output, the prior, the likeliest draws and points
    between, end at members of the guide's family, several where the posterior has several modes. The evidence is the
    log of the mean weight of fresh samples,

    .. math:: w(z) = \frac{p(x, z)}{\alpha_0\, q(z \mid x) + \alpha_1\, p(z) + \sum_k \alpha_k\, q_k(z)}

    of guide (a quarter), prior (a tenth) and all members found, under their mixture: samples are independent of the
    search, so that the mean weight is unbiased, and what guide or members leave out is found by the others.

    Arguments:
        draws: Samples per datum, of all proposals together.
        search_steps: Steps of each gradient ascent.
        search_starts: Starts of the search, each of which ends at a proposal.
    """

    exact: ClassVar[bool] = False
    priority: ClassVar[int] = 40
    fewest_draws: ClassVar[int] = 40
    remedy: ClassVar[str] = (
        "raise the steps and starts of the search (--search-steps, search_steps=; --search-starts, search_starts=), or "
        "anneal (--method annealing, method='annealing'; of a gap --evidence annealing)"
    )

    search_steps: int = 200
    search_starts: int = 4

    def obstacle(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        with fork_random_state():
            check_none(run(model, (x[:2],), {}, draws=1), "the search for the best member")
        return None

    def cost(self, x: Batch, sites: list[GuideSite]) -> int:
        return len(x) * (self.draws + self.search_steps)

    def block(self, x: Batch) -> int:
        return ascents_at_once(x)

    def measure(self, model: Program, guide: Program, x: Batch, sites: list[GuideSite], progress: Progress) -> Evidence:
        proposals = self._proposals(model, guide, x, progress)
        weights, own = mixture_weights(model, x, proposals, progress)
        method = f"importance, {self.draws} draws of guide, prior and best members"
        return evidence_of(weights, own, proposals, method)

    def shortfall(self, model: Program, guide: Program, x: Batch, posterior: Mapping[str, Tensor]) -> Shortfall:
        proposals = self._proposals(model, guide, x, None)
        weights, _ = mixture_weights(model, x, proposals)
        weights = weights.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
        upper = with_posterior(model, x, proposals, weights, posterior)
        total = weights.logsumexp(0)
        return Shortfall(upper.logsumexp(0) - total, k_hat(weights), lower=total - log(len(weights)))

    def _proposals(self, model: Program, guide: Program, x: Batch, progress: Progress | None) -> list[Proposal]:
        """The guide, the prior and the members at the ends of the search, with their numbers of samples."""
        family = members_of(guide, x)
        ends = optimal_member(
            model, guide, x, steps=self.search_steps, draws=SEARCHED, restarts=self.search_starts, progress=progress
        ).ends
        counts = [self.draws // 4, self.draws // 10]
        left = self.draws - sum(counts)
        each = [left // ends.shape[1] + (k < left % ends.shape[1]) for k in range(ends.shape[1])]
        members = [family.program(end) for end in ends.unbind(1)]
        return [Proposal(p, n) for p, n in zip([guide, None, *members], [*counts, *each], strict=True)]


SEARCHED = 10
"""Draws by which the search judges its ends, all of which are proposals here."""

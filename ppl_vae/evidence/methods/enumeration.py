"""Evidence and ELBO by visiting every state of the discrete latents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, dense_width
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import with_sampled_bound
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.products import Products
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.clamped import are_unclamped, note_clamped
from ppl_vae.programs.handlers import check_cover, run
from ppl_vae.programs.log_weight import log_joint, log_proposal
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite, guide_sites
from ppl_vae.programs.states import States, obstacle
from ppl_vae.programs.types import Program, Progress
from ppl_vae.programs.unobserved import has_partial_latents

__all__ = ["Enumeration", "enumerate_states", "has_cheap_density"]

CELLS = 2**22
"""Largest number of (code, datum) cells held at once: 16 MB, which the allocator still recycles."""

BLOCK = 2**11
"""Most codes scored by one run of the programs."""


CHEAP_STATES = 2**12
"""Most states at which any guide's density is evaluated; independent bits, one matrix product, are always."""


@dataclass(frozen=True)
class Enumeration(EvidenceMethod):
    r"""Exact for discrete latents of at most 16 bits together, finite mixtures among them: a sum over all states.

    .. math::

        \log p(x) = \log \sum_z p(x, z), \qquad
        \mathcal{L} = \sum_z q(z \mid x)\, (\log p(x, z) - \log q(z \mid x))

    Only the ELBO of a guide whose density is costly to evaluate (autoregressive, beyond 12 bits), or whose latents
    count for some data only (``obs_mask``), comes from samples.

    Arguments:
        draws: Samples per datum of the ELBO, where its guide is too costly to enumerate.
        most_bits: Longest code to enumerate.
    """

    exact: ClassVar[bool] = True
    priority: ClassVar[int] = 10

    most_bits: int = 16

    def obstacle(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        return obstacle(sites, self.most_bits)

    def reason(self, sites: list[GuideSite]) -> str:
        return f"the discrete latents have {prod(site.states for site in sites)} joint states"

    def cost(self, x: Batch, sites: list[GuideSite]) -> int:
        return len(x) * prod(site.states for site in sites)

    def measure(self, model: Program, guide: Program, x: Batch, sites: list[GuideSite], progress: Progress) -> Evidence:
        with fork_random_state():
            partial = has_partial_latents(run(model, (x[:1],), {}, draws=1))
        cheap = not partial and has_cheap_density(guide, x, sites)
        result = enumerate_states(model, guide if cheap else None, x, sites, progress)
        if isinstance(result, Evidence):
            return result
        states = prod(site.states for site in sites)
        evidence = Estimate(result, f"enumeration of {states} states", "exact")
        return with_sampled_bound(evidence, model, guide, x, self.draws)


def has_cheap_density(guide: Program, x: Batch, sites: list[GuideSite]) -> bool:
    """Whether a guide's density may be evaluated at every state of the latents."""
    independent = all(site.kind == "bits" and site.independent for site in guide_sites(guide, (x[:2],)))
    return independent or prod(site.states for site in sites) <= CHEAP_STATES


def enumerate_states(
    model: Program,
    guide: Program | None,
    x: Batch,
    sites: list[GuideSite],
    progress: Progress | None = None,
) -> Evidence | Tensor:
    r"""Evidence and ELBO of each datum by sums over all states, a block of states at a time.

    Arguments:
        model: The model.
        guide: Its guide; None leaves the ELBO out.
        x: The data.
        sites: The latent sites of the model.
        progress: Called with the number of (state, datum) cells done.

    Returns:
        ELBO, evidence and gap; without a guide only the evidence, ``(data,)``, in nats.
    """
    states = States(sites, model, x[:3])
    if guide is not None:
        check_cover(states.run, run(guide, (x[:1],), {}, draws=1))
    shared = states.shared(partial(log_joint, model), *([partial(log_proposal, guide)] if guide is not None else []))
    for name, fn in states.priors.items():
        note_clamped(name, fn)
    sums = _by_products(model, guide, x, states, progress) if shared and not are_unclamped() else None
    evidence, bound = sums or _by_densities(model, guide, x, states, shared, progress)
    if guide is None:
        return evidence
    method = f"enumeration of {states.count} states"
    return Evidence(
        Estimate(bound, method, "exact"),
        Estimate(evidence, method, "exact"),
        Estimate(evidence - bound, method, "exact"),
    )


def _by_products(
    model: Program, guide: Program | None, x: Batch, states: States, progress: Progress | None
) -> tuple[Tensor, Tensor] | None:
    """Evidence and ELBO by matrix products of codes and data; None where the densities are of another form."""
    try:
        products = Products(model, guide, x, states.codes(0, 2, len(x), True))
        for start in range(0, states.count, BLOCK):
            products.add(states.codes(start, start + BLOCK, len(x), True))
            if progress:
                progress(min(BLOCK, states.count - start) * len(x))
    except ValueError:
        return None
    return products.result()


def _by_densities(
    model: Program, guide: Program | None, x: Batch, states: States, shared: bool, progress: Progress | None
) -> tuple[Tensor, Tensor]:
    """Evidence and ELBO of any pair, from the log-densities of its sites."""
    width = dense_width(x)
    block = max(1, min(BLOCK, CELLS // (len(x) * width)))
    precise = torch.float32 if states.device.type == "mps" else torch.float64
    evidence = torch.full((len(x),), -torch.inf, dtype=precise, device=states.device)
    bound, mass, reference = torch.zeros_like(evidence), torch.zeros_like(evidence), None
    for start in range(0, states.count, block):
        codes = states.codes(start, start + block, len(x), shared)
        joint = log_joint(model, x, codes)
        if reference is None:
            # Relative to some code's, log-densities are small numbers, and float32 enough for their sums.
            high = joint.amax(0)
            reference = torch.where(high.isfinite(), high, 0)
        joint.sub_(reference)
        evidence = torch.logaddexp(evidence, joint.logsumexp(0).to(evidence))
        if guide is not None:
            proposal = log_proposal(guide, x, codes)
            probability = proposal.exp()
            mass += probability.sum(0)
            # A code of probability zero under the guide adds nothing, even where the model's density is zero.
            bound += joint.sub_(proposal).mul_(probability).masked_fill_(probability == 0, 0).sum(0)
        if progress:
            progress(joint.numel())
    assert reference is not None
    # Probabilities add up to one but for rounding, which the size of the log-densities would magnify.
    return reference + evidence, reference + bound / mass

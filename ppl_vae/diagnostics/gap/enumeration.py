"""The gap split by sums over all states of discrete latents."""

from __future__ import annotations

from functools import partial
from math import log, prod

import torch
from torch import Tensor
from torch.nn import functional

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.gap.branch_and_bound import bracket_mean_field
from ppl_vae.diagnostics.gap.coordinate_ascent import best_structured, marginals, optimal_mean_field
from ppl_vae.diagnostics.gap.family_members import VariationalFamily
from ppl_vae.diagnostics.gap.gap import ANY, GAINED, LEAD, Gap
from ppl_vae.distributions import exponential_family
from ppl_vae.evidence.as_written import noted
from ppl_vae.evidence.clamping import settled
from ppl_vae.evidence.estimate import Bound, Estimate
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.clamped import watching_clamps
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.log_weight import log_joint, log_proposal, log_unmasked
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite
from ppl_vae.programs.states import States
from ppl_vae.programs.types import Program, Progress

__all__ = ["SEARCHED", "by_enumeration", "missed_by", "rows_of_tables"]

CELLS = 2**24
"""Largest number of (datum, state) cells held at once: 128 MB in float64."""

SEARCHED = 2**12
"""Largest number of states over which the bound of a structured member is summed at each step of an ascent."""

BOUNDED = 2**12
"""Largest number of states over which the best member is bounded by branch and bound."""

ASCENT_CELLS = 2**20
"""Largest number of (state, start, datum) cells of such a step."""


def by_enumeration(
    model: Program,
    guide: Program,
    x: Batch,
    sites: list[GuideSite],
    universal: bool,
    coupled: VariationalFamily | None,
    steps: int,
    check: int,
    progress: Progress | None,
) -> Gap:
    """Returns the gap of each datum, split exactly except for the search for the best member.

    Arguments:
        model: The generative model.
        guide: Its guide.
        x: The data; worked through in blocks.
        sites: The latent sites of the model.
        universal: Whether the guide's family holds every distribution of the codes.
        coupled: The family, if it is neither universal nor factorised; else None.
        steps: Number of steps of each ascent in that family.
        check: Number of data, evenly spaced, whose best independent members are searched for again, of bits by branch
            and bound.
        progress: Called with the number of data completed since the last call.
    """
    block = rows_of_tables(sites)
    checked = torch.linspace(0, len(x) - 1, min(check, len(x))).round().long()
    if coupled is not None or universal:
        checked = checked[:0]
    pieces, blocks, missed = [], list[Evidence](), dict[str, list[Estimate]]()
    for start in range(0, len(x), block):
        part = x[start : start + block]
        with watching_clamps() as found:
            *values, joint = _split(model, guide, part, sites, universal, coupled, steps)
        pieces.append(values)
        measured = _exact(values[0], values[2], sites)
        again = partial(_measured, model, guide, part, sites)
        blocks.append(settled(found, measured, again, start))
        rows = checked[(checked >= start) & (checked < start + len(part))].to(joint.device) - start
        if len(rows):
            for name, estimate in _missed(joint[rows], values[1][rows], sites).items():
                missed.setdefault(name, []).append(estimate)
        if progress:
            progress(len(part))
    values = [torch.cat(parts) for parts in zip(*pieces, strict=True)]
    joined = Evidence.join(blocks)
    with fork_random_state():
        both = noted({"evidence": joined.evidence, "ELBO": joined.elbo}, run(model, (x[:1],), {}, draws=1))
    evidence, elbo = both["evidence"], both["ELBO"]
    if universal:
        return Gap(evidence, evidence, elbo, ANY)
    if coupled is None:
        best = Estimate(values[1], "coordinate ascent", "lower")
        missing = {name: Estimate.join(parts) for name, parts in missed.items()}
        return Gap(evidence, best, elbo, "independent latents", missed=missing)
    method = f"ascent of {steps} steps along exact gradients"
    best, before, other = (Estimate(bound, method, "lower") for bound in (values[1], *values[3:]))
    return Gap(evidence, best, elbo, coupled.name, {GAINED: best.minus(before), LEAD: best.minus(other)})


def _measured(model: Program, guide: Program, x: Batch, sites: list[GuideSite]) -> Evidence:
    """Evidence and ELBO alone."""
    joint, proposal = _tables(model, guide, x, States(sites, model, x[:3]))
    return _exact(joint.logsumexp(1), _bound(joint, proposal), sites)


def _exact(evidence: Tensor, elbo: Tensor, sites: list[GuideSite]) -> Evidence:
    method = f"enumeration of {prod(site.states for site in sites)} states"
    log_p, bound = (Estimate(value, method, "exact") for value in (evidence, elbo))
    return Evidence(bound, log_p, log_p.minus(bound))


def rows_of_tables(sites: list[GuideSite]) -> int:
    """Number of data for which the numbers of all states are held at once."""
    return max(1, CELLS // prod(site.states for site in sites))


def _split(
    model: Program,
    guide: Program,
    x: Batch,
    sites: list[GuideSite],
    universal: bool,
    coupled: VariationalFamily | None,
    steps: int,
) -> tuple[Tensor, ...]:
    """Evidence, bound of the family's best member, and bound of the guide, ``(data,)`` each.

    For a coupled family also the bound of the best start half-way, and the bound of the second-best start. Last the
    log p(x, z) of all states, ``(data, states)``.
    """
    states = States(sites, model, x[:3])
    joint, proposal = _tables(model, guide, x, states)
    evidence, elbo = joint.logsumexp(1), _bound(joint, proposal)
    if universal:
        return evidence, evidence, elbo, joint
    if coupled is None:
        guide_factors = _factors(guide, x, sites, joint.dtype)
        sizes = [factor.shape[1] for factor in guide_factors]
    else:  # of bits, all of them
        sizes = [2] * sum(latent.size for latent in coupled.latents)
        guide_factors = marginals(proposal, sizes)
    best, factors = optimal_mean_field(joint, sizes, [guide_factors])
    more: tuple[Tensor, ...] = ()
    if coupled is not None:
        reached, other, before = _ascend(coupled, states, x, joint, factors, steps)
        # Independent latents are among the members, and so is the guide.
        least = torch.maximum(best, elbo)
        best, more = torch.maximum(reached, least), (torch.maximum(before, least), torch.maximum(other, least))
    # Rounding must not lift the best member above the evidence.
    return evidence, torch.maximum(best, elbo).clamp(max=evidence), elbo, *(m.clamp(max=evidence) for m in more), joint


def _tables(model: Program, guide: Program, x: Batch, states: States) -> tuple[Tensor, Tensor]:
    """log p(x, z) and log q(z given x) of all states, ``(data, states)`` each, in float64 where the device has it.

    A latent that is masked for a datum has no part in its ELBO: both are uniform over it there, and so is, of
    independent latents, the best member.
    """
    shared = states.shared(partial(log_joint, model), partial(log_proposal, guide))
    joints, proposals = [], []
    for start in range(0, states.count, 2**11):
        codes = states.codes(start, start + 2**11, len(x), shared)
        joint, proposal, masked = log_unmasked(model, guide, x, codes)
        for site in states.sites:
            if site.name in masked:
                joint = joint - masked[site.name] * log(site.states)
        joints.append(joint)
        proposals.append(proposal.expand(joint.shape))
    precise = torch.float32 if states.device.type == "mps" else torch.float64
    return torch.cat(joints).T.to(precise).contiguous(), torch.cat(proposals).T.to(precise).log_softmax(1)


def _bound(joint: Tensor, proposal: Tensor) -> Tensor:
    """The ELBO summed over all states, ``(data,)``."""
    probability = proposal.exp()
    return torch.where(probability > 0, probability * (joint - proposal), 0).sum(1)


def missed_by(model: Program, members: Program, x: Batch, sites: list[GuideSite]) -> dict[str, Estimate]:
    """What independent members found by another search miss of the best ones, summed over all states.

    Arguments:
        model: The generative model.
        members: A guide with the members found of these data.
        x: The data.
        sites: The latent sites of the model, all of which can be enumerated.

    Returns:
        Nats at least, and where branch and bound can tell at most, by name; see :class:`~.gap.Gap`.
    """
    joint, proposal = _tables(model, members, x, States(sites, model, x[:3]))
    return _missed(joint, _bound(joint, proposal), sites)


def _missed(joint: Tensor, found: Tensor, sites: list[GuideSite]) -> dict[str, Estimate]:
    """What the best factorised members found miss of the best: by branch and bound, or at least, by more starts."""
    if joint.shape[1] > BOUNDED or not all(site.kind == "bits" for site in sites):
        sizes = [size for s in sites for size in ([2] * s.size if s.kind == "bits" else [s.states])]
        count = max(4, min(32, BOUNDED * 32 // joint.shape[1]))
        with fork_random_state(0):
            starts = [[2 * torch.randn(len(joint), size).to(joint) for size in sizes] for _ in range(count)]
        better, _ = optimal_mean_field(joint, sizes, [[s.log_softmax(1) for s in start] for start in starts])
        more = torch.maximum(better, found) - found
        return {"at least": Estimate(more, f"{count} more starts at random (no proof)", "lower")}
    lower, upper = bracket_mean_field(joint, found)
    bounds: dict[str, Bound] = {"at least": "lower", "at most": "upper"}
    values = {"at least": lower - found, "at most": upper - found}
    return {name: Estimate(value, "branch and bound", bounds[name]) for name, value in values.items()}


def _ascend(
    family: VariationalFamily, states: States, x: Batch, joint: Tensor, factors: list[Tensor], steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Bounds of the best start, of the second-best start, and of the best start half-way, ``(data,)`` each.

    Ascents begin at the guide's own output, twice, and at the best independent member, three times, with
    random couplings in all but the first.
    """
    guide_parameters = family.guide_parameters(x).to(joint)
    base = torch.cat([(f[:, 1:] - f[:, :1]).clamp(-8, 8) for f in factors], 1)
    independent = [guide_parameters[:, : base.shape[1]], base, base, base]
    with fork_random_state(0):  # the same data have the same best member
        starts = torch.stack(
            [
                guide_parameters,
                *(family.with_couplings(s, guide_parameters.shape[1], k) for k, s in enumerate(independent)),
            ]
        )
    (codes,) = states.codes(0, states.count, len(x), True).values()
    block, result = max(1, ASCENT_CELLS // (len(starts) * states.count)), []

    def log_q(free: Tensor) -> Tensor:
        (fn,) = family.make(free).values()
        logs: Tensor = fn.log_prob(codes[:, None].to(free))
        return logs

    for start in range(0, len(joint), block):
        part = slice(start, start + block)
        before, after = best_structured(joint[part], log_q, starts[:, part], steps=steps)
        (best, other), chosen = after.topk(2, 0)
        result.append((best, other, before.gather(0, chosen[:1])[0]))
    best, other, before = (torch.cat(parts) for parts in zip(*result, strict=True))
    return best, other, before


def _factors(guide: Program, x: Batch, sites: list[GuideSite], dtype: torch.dtype) -> list[Tensor]:
    """Log-probabilities of each factor of a factorised guide, in the order of the model's sites, ``(data, states)``."""
    with fork_random_state():
        drawn = latents(run(guide, (x,), {}, draws=1))
    parts = []
    for site in sites:
        fn = drawn[site.name]["fn"]
        logits = exponential_family.bit_logits(fn)
        if logits is not None:
            both = torch.stack([-logits[0], logits[0]], -1).to(dtype)
            parts += list(functional.logsigmoid(both).unbind(1))
        else:
            support = fn.enumerate_support(expand=False)[:, 0]
            parts.append(fn.log_prob(support.expand(-1, *fn.shape()[1:])).T.to(dtype).log_softmax(1))
    return parts

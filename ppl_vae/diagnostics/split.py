"""The gap split: by enumeration where that is affordable, by gradient ascent elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from ppl_vae import exponential_family
from ppl_vae.bits import UNIVERSAL, JointBits
from ppl_vae.diagnostics.ascent import best_member, unknown_family
from ppl_vae.diagnostics.family import best_factorised
from ppl_vae.diagnostics.gap import ANY, Gap
from ppl_vae.estimators import Estimator
from ppl_vae.evidence.enumeration import States
from ppl_vae.evidence.measuring import measure
from ppl_vae.evidence.planning import obstacle
from ppl_vae.evidence.results import Estimate, Measurement
from ppl_vae.guide import Latent
from ppl_vae.log_weight import check_cover, latents, log_joint, log_proposal, run
from ppl_vae.modes import evaluating
from ppl_vae.randomness import kept_random_state
from ppl_vae.sites import GuideSite, guide_sites

__all__ = ["SPLITS", "SplitMethod", "UnknownFamilyError", "split_gap"]

Program = Callable[..., Any]
Progress = Callable[[int], None]
SplitMethod = Literal["auto", "enumeration", "ascent"]
SPLITS: tuple[SplitMethod, ...] = get_args(SplitMethod)

CELLS = 2**24
"""Largest number of (datum, state) cells held at once: 128 MB in float64."""


class UnknownFamilyError(ValueError):
    """The guide is a member of no family that could be searched for its best."""


def split_gap(
    model: Program,
    guide: Program,
    x: Any,
    *,
    method: SplitMethod = "auto",
    most_bits: int = 16,
    steps: int = 600,
    draws: int = 200,
    restarts: int = 4,
    estimator: Estimator | str = "auto",
    measurement: Measurement | None = None,
    progress: Progress | None = None,
) -> Gap:
    r"""Splits the gap of each datum into what the guide's family costs and what its amortisation.

    - ``"enumeration"``: exact sums over all states of discrete latents, and the best member by exact coordinate ascent
      from several starts;
    - ``"ascent"``: the best member by gradient ascent (:func:`~ppl_vae.diagnostics.ascent.best_member`), for
      independent sites that are Bernoulli, categorical, normal or multivariate normal; evidence and ELBO by
      :func:`~ppl_vae.evidence.measure`. Where that only bounds the evidence from below, importance weights of the best
      members replace it if they raise its mean, as they do where the guide proposes badly.

    A best member found is a lower bound of the best, so the family gap is from above. Of evidence from below the
    family gap is from below: where both are so, neither.

    Arguments:
        model: The generative model.
        guide: Its guide: independent latents, or one site that can be any distribution of the codes.
        x: The data; worked through in blocks.
        method: ``"auto"`` enumerates where it can.
        most_bits: Longest code to enumerate.
        steps: Of the gradient ascent.
        draws: A datum, for evidence, ELBO and best member, where they are sampled.
        restarts: Starts of the gradient ascent.
        estimator: Of its gradient through discrete sites.
        measurement: Of these data, for the gradient ascent; by default they are measured here.
        progress: Called with the number of data done since the last call.

    Returns:
        A :class:`Gap`.

    Raises:
        ValueError: If the latents cannot be enumerated, naming the site; or (:class:`UnknownFamilyError`) if the
            guide's family is not known.
    """
    if method not in SPLITS:
        raise ValueError(f"unknown method {method!r}; choose from {', '.join(SPLITS)}")
    with evaluating(model, guide):
        sites = guide_sites(model, (x[:2],))
        with kept_random_state():
            few = run(guide, (x[:2],), {}, draws=1)
            check_cover(run(model, (x[:2],), {}, draws=1), few)
        wrong = obstacle(sites, most_bits)
        if method == "enumeration" and wrong:
            raise ValueError(f"the gap cannot be split by enumeration: {wrong}; use the method 'ascent'")
        only = next(iter(few.values()))["fn"] if len(few) == 1 else None
        if method != "ascent" and wrong is None:
            universal = isinstance(only, UNIVERSAL)
            if not universal:
                drawn = guide_sites(guide, (x[:2],))
                if not all(site.independent and site.kind in ("bits", "states") for site in drawn):
                    raise UnknownFamilyError(f"{unknown_family(guide, x) or 'its family is not known'}; use evidence")
            return _by_enumeration(model, guide, x, sites, universal, progress)
    universal = isinstance(only, JointBits)
    reason = None if universal else unknown_family(guide, x)
    if reason is not None:
        raise UnknownFamilyError(f"{reason}; use evidence")
    measured = measurement or measure(model, guide, x, draws=draws, most_bits=most_bits)
    if universal:
        return Gap(measured.evidence, measured.evidence, measured.elbo, ANY)
    ascent = best_member(
        model,
        guide,
        x,
        steps=steps,
        draws=draws,
        restarts=restarts,
        estimator=estimator,
        progress=_in_data(progress, steps),
    )
    evidence = measured.evidence
    if evidence.bound == "lower" and ascent.evidence.mean > evidence.mean:
        evidence = replace(ascent.evidence, method=f"{ascent.evidence.method} from the best members")
    families = {name: Latent.of(name, site["fn"]).family for name, site in sorted(few.items())}
    alike = len(set(families.values())) == 1
    words = next(iter(families.values())) if alike else ", ".join(f"{n} {family}" for n, family in families.items())
    return Gap(evidence, ascent.best, measured.elbo, f"independent latents, {words}", ascent.optimisation)


def _in_data(progress: Progress | None, steps: int) -> Progress | None:
    """Counts (datum, step) cells as data."""
    if progress is None:
        return None
    cells = 0

    def tick(more: int) -> None:
        nonlocal cells
        before, cells = cells // steps, cells + more
        progress(cells // steps - before)

    return tick


def _by_enumeration(
    model: Program, guide: Program, x: Any, sites: list[GuideSite], universal: bool, progress: Progress | None
) -> Gap:
    count = prod(site.states for site in sites)
    block = max(1, CELLS // count)
    found = []
    for start in range(0, len(x), block):
        part = x[start : start + block]
        found.append(_split(model, guide, part, sites, universal))
        if progress:
            progress(len(part))
    values = [torch.cat(parts) for parts in zip(*found, strict=True)]
    words = f"enumeration of {count} states"
    evidence, elbo = Estimate(values[0], words, "exact"), Estimate(values[2], words, "exact")
    if universal:
        return Gap(evidence, evidence, elbo, ANY)
    return Gap(evidence, Estimate(values[1], "coordinate ascent", "lower"), elbo, "independent latents")


def _split(
    model: Program, guide: Program, x: Any, sites: list[GuideSite], universal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Evidence, bound of the family's best member, and bound of the guide, ``(data,)`` each."""
    states = States(sites, model, x[:3])
    shared = states.shared(partial(log_joint, model), partial(log_proposal, guide))
    joints, proposals = [], []
    for start in range(0, states.count, 2**11):
        codes = states.codes(start, start + 2**11, len(x), shared)
        joints.append(log_joint(model, x, codes))
        proposals.append(log_proposal(guide, x, codes))
    precise = torch.float32 if states.device.type == "mps" else torch.float64
    joint = torch.cat(joints).T.to(precise).contiguous()
    proposal = torch.cat(proposals).T.to(precise).log_softmax(1)
    evidence = joint.logsumexp(1)
    probability = proposal.exp()
    elbo = torch.where(probability > 0, probability * (joint - proposal), 0).sum(1)
    if universal:
        return evidence, evidence, elbo
    own = _factors(guide, x, sites, precise)
    sizes = [factor.shape[1] for factor in own]
    best, _ = best_factorised(joint, sizes, [own])
    # Rounding must not lift the best member above the evidence.
    return evidence, torch.maximum(best, elbo).clamp(max=evidence), elbo


def _factors(guide: Program, x: Any, sites: list[GuideSite], dtype: torch.dtype) -> list[Tensor]:
    """Log-probabilities of each factor of a factorised guide, in the order of the model's sites, ``(data, states)``."""
    with kept_random_state():
        drawn = latents(run(guide, (x,), {}, draws=1))
    found = []
    for site in sites:
        fn = drawn[site.name]["fn"]
        logits = exponential_family.bit_logits(fn)
        if logits is not None:
            both = torch.stack([-logits[0], logits[0]], -1).to(dtype)
            found += list(functional.logsigmoid(both).unbind(1))
        else:
            support = fn.enumerate_support(expand=False)[:, 0]
            found.append(fn.log_prob(support.expand(-1, *fn.shape()[1:])).T.to(dtype).log_softmax(1))
    return found

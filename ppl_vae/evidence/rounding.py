"""How far the rounding of a model's floating-point numbers may move a log-density that has no other error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch import distributions as families

from ppl_vae.data.inputs import Batch, documents
from ppl_vae.distributions.in_float64 import in_float64
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.densities import Site, innermost
from ppl_vae.programs.handlers import SubstituteLatents, log_prob, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program

__all__ = ["LIMIT", "UNITS", "rounded", "rounding"]

UNITS = 4
"""Units of the last place that a sum may be off by; the measured errors of sums of a million terms are below one."""

LIMIT = 0.01
"""Rounding up to which a number is called exact, in nats per datum."""


def rounding(sites: Mapping[str, Site], x: Batch, largest: float) -> float:
    r"""Bound on the rounding of the log-density of a datum, in nats.

    .. math:: 4 \epsilon \max_i |\log p(x_i)|

    with :math:`\epsilon` the distance from 1 to the next number of the type that densities are computed in. Documents
    longer than :data:`~ppl_vae.distributions.multinomial.LONG` words are scored in float64, so that only the hidden
    states of a decoder are rounded, which each word multiplies; shorter ones are off by less than :data:`LIMIT`.

    Arguments:
        sites: Sites of the model, of a run without gradients.
        x: The data.
        largest: Largest absolute value of their log-densities, in nats.
    """
    bounds = [0.0]
    for site in sites.values():
        fn = site["fn"]
        if not site["is_observed"]:
            continue
        if not isinstance(fn, PackedMultinomial):
            bounds.append(UNITS * torch.finfo(log_prob(site).dtype).eps * largest)
        elif fn.hidden is not None and not bool(((fn.hidden == 0) | (fn.hidden == 1)).all()):
            packed = documents(x)
            assert packed is not None
            bounds.append(UNITS * torch.finfo(fn.hidden.dtype).eps * packed.lengths.max().item())
    return max(bounds)


DRAWN = 4
"""Samples of the guide per datum at which log-densities are compared with those of float64 numbers."""

PLAIN = (families.Normal, families.MultivariateNormal, families.Bernoulli, families.Categorical, PackedMultinomial)
"""Families whose rounding is that of a sum; others take differences of large numbers."""


def rounding_of_families(model: Program, guide: Program, x: Batch, sites: Mapping[str, Site]) -> tuple[str, float]:
    """The site whose log-density float64 numbers move most, at samples of the guide, and how far.

    Densities of counts and of concentrated variables are differences of large numbers, such as logarithms of gamma
    functions, whose rounding the size of the result does not show. Parameters and values are those of the model.

    Arguments:
        model: The model.
        guide: Its guide.
        x: The data.
        sites: Sites of a run of the model.
    """
    worst = "", 0.0
    names = [name for name, site in sites.items() if _is_delicate(site)]
    for start in range(0, len(x) if names else 0, step := data_block(x, DRAWN)):
        part = x[start : start + step]
        with fork_random_state(), torch.no_grad():
            drawn = run(guide, (part,), {}, draws=DRAWN)
            scored = run(model, (part,), {}, draws=DRAWN, handler=SubstituteLatents(drawn.values_of_latents()))
            worst = max(worst, *((name, _moved(scored[name])) for name in names), key=lambda each: each[1])
    return worst


def _is_delicate(site: Site) -> bool:
    return isinstance(site["value"], Tensor) and not isinstance(innermost(site["fn"]), PLAIN)


def _moved(site: Site) -> float:
    """The largest change of a site's log-density in float64 beyond what its size explains, in nats."""
    value = site["value"]
    try:
        precise = {
            **site,
            "fn": in_float64(site["fn"]),
            "value": value.double() if value.is_floating_point() else value,
        }
        density, exact = log_prob(site), log_prob(precise)
    except Exception:  # a distribution of a user's own that cannot be converted is measured without this check
        return 0.0
    change = (exact - density).abs()  # of the same infinite numbers not a number
    beyond = change - UNITS * torch.finfo(density.dtype).eps * exact.abs()
    return change.where(beyond > 0, 0.0).max().item()


def rounded(evidence: Evidence, model: Program, guide: Program, sites: Mapping[str, Site], x: Batch) -> Evidence:
    """The evidence, called approximate and with the bound on its rounding, if it was exact but for too much of that."""
    name, moved_by = rounding_of_families(model, guide, x, sites)
    if moved_by > LIMIT:
        by = f"by up to {moved_by:.2g} nats" if moved_by < torch.inf else "to infinity"
        note = (
            f"rounding moves the log-density of site {name!r} {by} at samples of the guide, compared with float64, so "
            "that nothing is called exact: convert model, guide and data to float64, or take less extreme parameters"
        )
        return _approximate(evidence, note)
    if evidence.evidence.bound != "exact" or not evidence.evidence.pointwise.isfinite().all():
        return evidence
    bound = rounding(sites, x, evidence.evidence.pointwise.abs().max().item())
    if bound <= LIMIT:
        return evidence
    note = (
        f"float32 rounds log-densities of this size by up to {bound:.2g} nats per datum, so that nothing is called "
        "exact: convert model, guide and data to float64"
    )
    return _approximate(evidence, note)


def _approximate(evidence: Evidence, note: str) -> Evidence:
    def moved(estimate: Estimate) -> Estimate:
        if estimate.bound != "exact":
            return replace(estimate, notes=(*estimate.notes, note)) if estimate is evidence.evidence else estimate
        return replace(estimate, bound="approximate", notes=(*estimate.notes, note))

    return replace(evidence, elbo=moved(evidence.elbo), evidence=moved(evidence.evidence), gap=moved(evidence.gap))

"""How far the rounding of a model's floating-point numbers may move a log-density that has no other error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from ppl_vae.data.inputs import Batch, documents
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.densities import Site
from ppl_vae.programs.handlers import log_prob

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


def rounded(evidence: Evidence, sites: Mapping[str, Site], x: Batch) -> Evidence:
    """The evidence, called approximate and with the bound on its rounding, if it was exact but for too much of that."""
    if evidence.evidence.bound != "exact" or not evidence.evidence.pointwise.isfinite().all():
        return evidence
    bound = rounding(sites, x, evidence.evidence.pointwise.abs().max().item())
    if bound <= LIMIT:
        return evidence
    note = (
        f"float32 rounds log-densities of this size by up to {bound:.2g} nats per datum, so that nothing is called "
        "exact: convert model, guide and data to float64"
    )

    def moved(estimate: Estimate) -> Estimate:
        if estimate.bound != "exact":
            return estimate
        return replace(estimate, bound="approximate", notes=(*estimate.notes, note))

    return replace(evidence, elbo=moved(evidence.elbo), evidence=moved(evidence.evidence), gap=moved(evidence.gap))

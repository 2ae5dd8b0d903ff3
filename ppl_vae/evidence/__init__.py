"""How probable the data are under a model, how far the bound is below, and how sure one may be of both."""

from __future__ import annotations

from ppl_vae.evidence.ais import Schedule
from ppl_vae.evidence.bdmc import BDMC, sandwich
from ppl_vae.evidence.importance import sampled_elbo, sampled_rates
from ppl_vae.evidence.measure import METHODS, Method, measure, plan, quick_evidence
from ppl_vae.evidence.results import Estimate, Evidence

__all__ = [
    "METHODS",
    "Estimate",
    "Evidence",
    "Method",
    "BDMC",
    "Schedule",
    "measure",
    "plan",
    "quick_evidence",
    "sampled_elbo",
    "sampled_rates",
    "sandwich",
]

"""How probable the data are under a model, how far the bound is below, and how sure one may be of both."""

from __future__ import annotations

from ppl_vae.evidence.ais import Schedule
from ppl_vae.evidence.bdmc import Sandwich, sandwich
from ppl_vae.evidence.importance import sampled_elbo, sampled_rates
from ppl_vae.evidence.measure import METHODS, Method, measure, plan, quick_evidence
from ppl_vae.evidence.results import Estimate, Measurement

__all__ = [
    "METHODS",
    "Estimate",
    "Measurement",
    "Method",
    "Sandwich",
    "Schedule",
    "measure",
    "plan",
    "quick_evidence",
    "sampled_elbo",
    "sampled_rates",
    "sandwich",
]

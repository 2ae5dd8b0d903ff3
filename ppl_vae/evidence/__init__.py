"""How probable the data are under a model, how far the bound is below, and how sure one may be of both."""

from __future__ import annotations

from ppl_vae.evidence.importance import sampled_elbo
from ppl_vae.evidence.measuring import cells, measure, quick_evidence
from ppl_vae.evidence.results import Estimate, Measurement

__all__ = ["Estimate", "Measurement", "cells", "measure", "quick_evidence", "sampled_elbo"]

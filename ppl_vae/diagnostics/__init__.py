"""Why a bound is not tight, and what goes through a code."""

from __future__ import annotations

from ppl_vae.diagnostics.comparison import Compared, Comparison, Difference
from ppl_vae.diagnostics.family import best_factorised
from ppl_vae.diagnostics.gap import Gap, split_gap
from ppl_vae.diagnostics.information import Information, information
from ppl_vae.diagnostics.tightness import tightness
from ppl_vae.diagnostics.verdict import Tightness

__all__ = [
    "Compared",
    "Comparison",
    "Difference",
    "Gap",
    "Information",
    "Tightness",
    "best_factorised",
    "information",
    "split_gap",
    "tightness",
]

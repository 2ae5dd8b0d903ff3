"""Why a bound is not tight, and what goes through a code."""

from __future__ import annotations

from ppl_vae.diagnostics.comparison import Compared, Comparison, Difference
from ppl_vae.diagnostics.family import best_factorised
from ppl_vae.diagnostics.gap import Gap, split_gap
from ppl_vae.diagnostics.information import Information, information

__all__ = [
    "Compared",
    "Comparison",
    "Difference",
    "Gap",
    "Information",
    "best_factorised",
    "information",
    "split_gap",
]

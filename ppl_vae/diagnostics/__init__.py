"""Why a bound is not tight."""

from __future__ import annotations

from ppl_vae.diagnostics.comparison import Compared, Comparison, Difference
from ppl_vae.diagnostics.family import best_factorised
from ppl_vae.diagnostics.gap import Gap, split_gap

__all__ = ["Compared", "Comparison", "Difference", "Gap", "best_factorised", "split_gap"]

"""Why a bound is not tight."""

from __future__ import annotations

from ppl_vae.diagnostics.family import best_factorised
from ppl_vae.diagnostics.gap import Gap, split_gap

__all__ = ["Gap", "best_factorised", "split_gap"]

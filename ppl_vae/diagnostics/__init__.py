"""Why a bound is not tight."""

from __future__ import annotations

from ppl_vae.diagnostics.family import best_factorised
from ppl_vae.diagnostics.gap import Gap, split_gap
from ppl_vae.diagnostics.tightness import tightness
from ppl_vae.diagnostics.verdict import Tightness

__all__ = ["Gap", "Tightness", "best_factorised", "split_gap", "tightness"]

"""Why a bound is not tight."""

from __future__ import annotations

from ppl_vae.diagnostics.ascent import Ascent, best_member
from ppl_vae.diagnostics.family import best_factorised
from ppl_vae.diagnostics.gap import Gap
from ppl_vae.diagnostics.split import SPLITS, SplitMethod, UnknownFamilyError, split_gap

__all__ = [
    "SPLITS",
    "Ascent",
    "Gap",
    "SplitMethod",
    "UnknownFamilyError",
    "best_factorised",
    "best_member",
    "split_gap",
]

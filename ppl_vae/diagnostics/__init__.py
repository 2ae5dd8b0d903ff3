"""Why a bound is not tight, and what goes through a code."""

from __future__ import annotations

from ppl_vae.diagnostics.ascent import Ascent, best_member
from ppl_vae.diagnostics.comparison import Compared, Comparison, Difference
from ppl_vae.diagnostics.curve import Curve, rate_distortion_curve
from ppl_vae.diagnostics.family import best_factorised
from ppl_vae.diagnostics.gap import Gap
from ppl_vae.diagnostics.information import Information, information
from ppl_vae.diagnostics.ladder import Ladder, ladder
from ppl_vae.diagnostics.split import SPLITS, SplitMethod, UnknownFamilyError, split_gap
from ppl_vae.diagnostics.tightness import tightness
from ppl_vae.diagnostics.verdict import Tightness

__all__ = [
    "SPLITS",
    "Ascent",
    "Compared",
    "Comparison",
    "Curve",
    "Difference",
    "Gap",
    "Information",
    "Ladder",
    "SplitMethod",
    "Tightness",
    "UnknownFamilyError",
    "best_factorised",
    "best_member",
    "information",
    "ladder",
    "rate_distortion_curve",
    "split_gap",
    "tightness",
]

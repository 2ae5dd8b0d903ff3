"""Why a bound is not tight, and what goes through a code."""

from __future__ import annotations

from ppl_vae.diagnostics.comparison import Compared, Comparison, Difference
from ppl_vae.diagnostics.gap.coordinate_ascent import optimal_mean_field
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.gradient_ascent import Ascent, optimal_member
from ppl_vae.diagnostics.gap.ladder import Ladder, ladder
from ppl_vae.diagnostics.gap.split import SPLITS, SplitMethod, UnknownFamilyError, split_gap
from ppl_vae.diagnostics.information.information import Information, information
from ppl_vae.diagnostics.information.rate_distortion_curve import Curve, rate_distortion_curve
from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.diagnostics.tightness.verdict import Tightness

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
    "optimal_mean_field",
    "optimal_member",
    "information",
    "ladder",
    "rate_distortion_curve",
    "split_gap",
    "tightness",
]

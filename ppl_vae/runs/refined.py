"""The guide of a run, refined for each datum of those that are measured or encoded."""

from __future__ import annotations

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.gap.refined_guide import RefinedGuide
from ppl_vae.objectives.choice import make_estimator
from ppl_vae.programs.types import Program, Progress
from ppl_vae.runs.open import Run

__all__ = ["guide_for"]


def guide_for(opened: Run, x: Batch, steps: int, progress: Progress | None) -> Program:
    """The guide after so many steps of gradient ascent for each of some data; that of the run for no step."""
    pair, config = opened.pair, opened.config
    if not steps:
        return pair.guide
    estimator = make_estimator(config.estimator, config.use_control)
    return RefinedGuide(pair.model, pair.guide, x, steps, estimator=estimator, progress=progress)

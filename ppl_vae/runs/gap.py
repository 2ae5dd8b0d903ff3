"""The gap of a run: split, and under a ladder of guides fitted to its fixed model."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.ladder import Ladder, ladder
from ppl_vae.diagnostics.gap.refinement import refine as refine_guide
from ppl_vae.diagnostics.gap.split import SplitMethod, split_gap
from ppl_vae.objectives.choice import make_estimator
from ppl_vae.programs.owned import OwnedProgram
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program, Progress
from ppl_vae.runs.config import OBJECT
from ppl_vae.runs.digests import method_digests
from ppl_vae.runs.engines.base import make_engine
from ppl_vae.runs.fit import GuideFit, fit_elsewhere
from ppl_vae.runs.measure import measure_and_save, measure_in_blocks
from ppl_vae.runs.open import Run
from ppl_vae.runs.pair import Pair
from ppl_vae.training.progress import log

__all__ = ["measure_gap", "measure_ladder"]

BLOCK = 512
"""Number of data whose gap is split and stored together."""


def measure_gap(
    opened: Run,
    split: str,
    count: int,
    *,
    method: SplitMethod,
    steps: int,
    draws: int,
    restarts: int,
    check: int,
    refine: int,
    engine: Mapping[str, Any] | None = None,
    **evidence: Any,
) -> Gap:
    """Splits the gap of one split of a run, its evidence by the options given; names the worst data."""
    config = opened.config
    estimator = make_estimator(config.estimator, config.use_control)
    options: dict[str, Any] = {"method": method, "steps": steps, "draws": draws, "restarts": restarts, "check": check}
    options |= evidence

    checked = tuple(found["note"] for found in (opened.run.summary or {"checks": ()})["checks"])

    def in_blocks(pair: Pair, x: Batch, done: MutableMapping[int, Gap], progress: Progress) -> Gap:
        starts = range(0, len(x), BLOCK)
        each = options | {"check": -(-check // len(starts))}
        for start in starts:
            part = x[start : start + BLOCK]
            if start in done:
                progress(len(part))
            else:
                how: dict[str, Any] = {"draws": draws, "estimator": estimator}
                with fork_random_state(config.settings.seed + start):
                    gap = split_gap(pair.model, pair.guide, part, progress=progress, **how | each)
                    refined = refine_guide(pair.model, pair.guide, part, refine, **how)[0] if refine else None
                    done[start] = gap.with_refined(refined)
                # The simulated data of all blocks would be the same: those of the first serve all.
                each["check_evidence"] = False
        return replace(Gap.join([done[start] for start in starts]), training=checked)

    digests = method_digests(evidence["evidence"])
    identity = options | ({"refine": refine} if refine else {})
    blocks: dict[str, Any] = {
        "engine": make_engine(**(engine or {})),
        "starts": lambda pair, x: range(0, len(x), BLOCK),
    }
    result = measure_in_blocks(
        opened, f"gap-{split}", split, count, identity, Gap, in_blocks, digests=digests, **blocks
    )
    opened.name_worst("widest gaps", split, count, result.worst(3), result.losses())
    return result


def measure_ladder(
    opened: Run,
    split: str,
    count: int,
    guides: Sequence[str | Program],
    epochs: str | None,
    engine: Mapping[str, Any] | None = None,
    **options: Any,  # those of split_gap
) -> Ladder:
    """Fits guides to the model of a run and measures them on one split.

    Arguments:
        opened: The run; the fits are stored in ``ladder/`` inside its folder.
        split: Name of the split.
        count: Size of a random sample of the data; 0 for all.
        guides: Names or files of guides, or guides that are fitted already, from the smallest family up. The guide of a
            run of objects is fitted already.
        epochs: Epochs of fitting, in the notation of :func:`~ppl_vae.training.settings.parse_schedule`; by default
            those of the run.
        engine: Name and options of the engine that fits the guides; by default this process, one after the other.
        options: Options of :func:`~ppl_vae.diagnostics.gap.split.split_gap`.

    Raises:
        ValueError: If there is no such guide, it does not fit the model, or an earlier fit belongs to another state of
            the model.
    """
    opened.split(split, count)  # refused, if it must be, before hours of fitting
    fits = [_fit_of(opened, each, epochs) for each in guides]
    labels = [fit.label for fit in fits]
    if len(set(labels)) < len(labels):
        raise ValueError(f"each guide of a ladder is named once, got {', '.join(labels)}")
    try:
        if not (elsewhere := make_engine(**(engine or {}))).alone:
            named = {f.label: str(each) for each, f in zip(guides, fits, strict=True) if isinstance(f, GuideFit)}
            fit_elsewhere(opened, elsewhere, named, epochs)
        remarks = [line for fit in fits if (line := fit.fit())]
    except KeyboardInterrupt:
        log("the fits are stored; the same command continues")
        raise
    rungs = {fit.label: fit.guide for fit in fits}
    options["estimator"] = make_estimator(opened.config.estimator, opened.config.use_control)
    return measure_and_save(
        opened,
        f"ladder-{split}",
        split,
        count,
        lambda pair, x, progress: ladder(pair.model, rungs, x, fits=tuple(remarks), progress=progress, **options),
        lambda pair, x: len(x) * len(rungs),
    )


def _fit_of(opened: Run, guide: str | Program, epochs: str | None) -> GuideFit | _Fitted:
    name = Path(opened.config.guide.name.removesuffix(OBJECT)).stem
    own = opened.guide
    # The function or method of the run's guide lacks the parameters of its statements, which the run holds.
    if (opened.config.is_of_objects and guide == name) or (
        isinstance(own, OwnedProgram) and guide in (own, own.program)
    ):
        return _Fitted(own, name)
    if isinstance(guide, str):
        return GuideFit(opened, guide, epochs)
    return _Fitted(guide, getattr(guide, "__name__", type(guide).__name__))


@dataclass(frozen=True)
class _Fitted:
    """A guide that is fitted already."""

    guide: Program
    label: str

    def fit(self) -> None:
        """There is nothing to do, and nothing to remark."""

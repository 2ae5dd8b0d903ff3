"""The evidence of a run, also under its guide refined for each datum."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.plan import OptionValue, plan
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.types import Progress
from ppl_vae.runs.digests import method_digests
from ppl_vae.runs.engines.base import make_engine
from ppl_vae.runs.measure import measure_in_blocks
from ppl_vae.runs.open import Run
from ppl_vae.runs.pair import Pair
from ppl_vae.runs.refined import guide_for

__all__ = ["measure_evidence"]


def measure_evidence(
    opened: Run,
    split: str,
    method: str,
    draws: int | None,
    count: int = 0,
    check: bool | None = None,
    refine: int = 0,
    engine: Mapping[str, Any] | None = None,
    **options: OptionValue,
) -> Evidence:
    """Measures ELBO, evidence and gap of one split of a run again, resuming an interrupted measurement.

    Arguments:
        opened: The run.
        split: Name of the split.
        method: Name of the evidence method, or path of its file.
        draws: Number of samples per datum; None for the default of the method.
        count: Size of a random sample of the data; 0 for all.
        check: Whether to check the method on simulated data; None where that is cheap.
        refine: Steps by which the guide is refined for each datum before; 0 for none.
        engine: Name and options of what computes the blocks, if not this process.
        options: Options of the method.

    Raises:
        ValueError: As by :func:`~ppl_vae.evidence.measure.measure`; or if a guide is to be refined for simulated data,
            or by an engine.
    """
    if refine and check:
        raise ValueError("the check simulates data that the guide is not refined for: leave out --check or --refine")
    computing = make_engine(**(engine or {}))
    if refine and not computing.alone:
        raise ValueError("a guide is refined in this process: leave out --engine and --jobs")

    def compute(pair: Pair, x: Batch, done: MutableMapping[int, Evidence], progress: Progress) -> Evidence:
        guide = guide_for(opened, x, refine, progress)
        how: dict[str, Any] = {"done": done, "progress": progress, "check": False if refine else check}
        found = measure(pair.model, guide, x, **how, **settings)
        method = f"guide refined by {refine} steps, {found.elbo.method}"
        return replace(found, elbo=replace(found.elbo, method=method)) if refine else found

    settings: dict[str, Any] = {"method": method, "draws": draws, **options}
    result = measure_in_blocks(
        opened,
        f"{'refined' if refine else 'evidence'}-{split}-{Path(method).stem}",
        split,
        count,
        settings | ({"refine": refine} if refine else {}),
        Evidence,
        compute,
        lambda pair, x: plan(pair.model, x, **settings).cells + refine * len(x),
        method_digests(method),
        computing,
        lambda pair, x: range(0, len(x), plan(pair.model, x, **settings).block),
    )
    opened.name_worst("widest gaps", split, count, result.worst(3), result.gap.pointwise)
    return result

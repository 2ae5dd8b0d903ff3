"""Comparison of trained runs: stored measurements are read, missing ones are made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch
from ppl_vae.data.source import SplitName
from ppl_vae.diagnostics.comparison import MOST_RUNS, Compared, Comparison, with_shared_evidence
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.plan import plan
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.programs.types import Progress
from ppl_vae.runs.code import Code, opening_too
from ppl_vae.runs.config import RunConfig, to_json
from ppl_vae.runs.measure import measure_and_save, save_figure
from ppl_vae.runs.open import Run, open_run
from ppl_vae.runs.pair import Pair
from ppl_vae.runs.state import RunState
from ppl_vae.runs.stored import gap_of, measurements, read_stored, state_of
from ppl_vae.training.run_folder import RunFolder

__all__ = ["compare"]

CELLS = 2**27
"""Largest number of (state, datum) cells for which a comparison splits a gap itself, within minutes."""


def compare(
    *runs: Run | Path | str,
    split: SplitName = "test",
    code: Code = "run",
    corpus: str | Path | None = None,
    trust: bool = False,
) -> Comparison:
    """Compare ELBO, evidence and gap of trained runs.

    If a run was trained with --objective likelihood, the approximation errors of the other runs of its model are
    shown. Stored measurements are read, missing ones are made; evidence that is not exact is taken by the same method
    with the same draws for all. Writes compare-SPLIT.json and a figure into the first run.

    Arguments:
        runs: Opened runs, or their folders.
        split: Data to compare on.
        code: How folders are opened, as by :func:`ppl_vae.load_run`, and so are corpus and trust.
        corpus: Where the data lie now, if they have moved.
        trust: Whether to run the code of runs that someone sent.

    Raises:
        ValueError: If there are fewer than two runs, or their data differ, naming both.
    """
    with opening_too(code, corpus, trust):
        return _compare(runs, split)


def _compare(runs: Sequence[Run | Path | str], split: SplitName) -> Comparison:
    if not 2 <= len(runs) <= MOST_RUNS:
        raise ValueError(f"a comparison takes 2 to {MOST_RUNS} runs, got {len(runs)}; name their folders")
    opened = [run if isinstance(run, Run) else None for run in runs]
    stored = [RunFolder.open(run.folder if isinstance(run, Run) else Path(run)) for run in runs]
    for i, run in enumerate(stored[1:], 1):
        if run.folder.resolve() in (other.folder.resolve() for other in stored[:i]):
            raise ValueError(f"{run.folder} is named twice; name different runs")
        _check_same_data(stored[0], run)
    states = [state_of(run, each) for run, each in zip(stored, opened, strict=True)]
    retrained = {state.name for state in states}
    notes = []
    if len(retrained) > 1:
        if split == "train":
            raise ValueError(
                "some of the runs were retrained on training and validation data; compare on test data (--split test)"
            )
        notes.append("not compared on training data: some runs were retrained on training and validation data")
    measured, how = measurements(stored, opened, split)
    trained = measurements(stored, opened, "train")[0] if len(retrained) == 1 else None
    notes += how
    parts = with_shared_evidence(
        [
            _compared(run, states[i], opened[i], split, measured[i], None if trained is None else trained[i].evidence)
            for i, run in enumerate(stored)
        ]
    )
    for one, other in combinations(parts, 2):
        if one.is_one_model_with(other):
            notes.append(
                f"{one.name} and {other.name} have one model with the same parameters: their evidence is the same, and "
                "the better of their two measurements is taken for both"
            )
    configs = [RunConfig.of(run) for run in stored]
    if differences := _differing(configs):
        notes.append("the runs differ in " + ", ".join(f"{n} ({' | '.join(each)})" for n, each in differences.items()))
    if len({config.settings.seed for config in configs}) > 1:
        notes.append("the runs have different seeds, so their models began from different parameters")
    result = Comparison(split, parts, tuple(notes))
    # Numbers of code that has changed since do not take the place of those of the runs.
    name = next((state for state in states if not state.is_run), states[0]).named(f"compare-{split}")
    stored[0].write_json(f"{name}.json", result.to_json())
    save_figure(stored[0], name, result, f"{len(stored)} runs on {split} data")
    return result


def _differing(configs: Sequence[RunConfig]) -> dict[str, list[str]]:
    """The entries in which runs differ, such as ``"settings.seed"``, with the value of each run."""
    entries = [config.entries() for config in configs]
    return {
        place: [str(each.get(place, "none")) for each in entries]
        for place in dict.fromkeys(place for each in entries for place in each)
        if len({str(each.get(place)) for each in entries}) > 1 and not place.endswith("sha256")
    }


def _check_same_data(first: RunFolder, other: RunFolder) -> None:
    ours, theirs = RunConfig.of(first), RunConfig.of(other)
    if ours.fingerprint != theirs.fingerprint:
        raise ValueError(
            f"{first.folder} and {other.folder} were trained on different data or splits ({ours.corpus}; "
            f"{theirs.corpus}): train them with the same --corpus, --vocabulary, --validation and --seed"
        )


def _compared(
    run: RunFolder, state: RunState, opened: Run | None, split: str, measurement: Evidence, train: Estimate | None
) -> Compared:
    """What is stored of a run, which is opened only if something has to be measured."""
    summary, config = state.summary(run), RunConfig.of(run)
    gap, notes = _gap(run, state, opened, split, measurement)
    if summary is None or summary["splits"][split]["data"] != measurement.data:
        opened = opened or open_run(run.folder)
        x, pair = opened.split(split), opened.pair.description
        saturated = x.saturated.double().mean().item() if isinstance(x, PackedCounts) else None
        unfinished = "training is not finished; measured in its best state so far"
        notes = notes if summary or run.summary else (unfinished, *notes)
    else:
        content, pair = summary["splits"][split], summary["pair"]
        saturated = content["deviance"] + content["elbo"]["mean"] if content.get("deviance") is not None else None
    return Compared(
        name=str(run.folder),
        pair=pair,
        objective=config.objective_description,
        **_model(run, state, config),
        measurement=measurement,
        train=train,
        gap=gap,
        saturated=saturated,
        notes=notes,
    )


def _model(run: RunFolder, state: RunState, config: RunConfig) -> dict[str, str]:
    """What two runs of one model have in common: file, options and digest, and the shapes of its tensors; their state.

    Objects of a Python program may have the same name and class without being the same.
    """
    tensors = Checkpoint.read(run.checkpoint(state.name)).part("model")
    shapes = {name: list(value.shape) for name, value in tensors.items()}
    digest = "" if config.is_of_objects else Checkpoint(tensors, {}).digest
    model = replace(config.model, sha256=state.code.get("model", config.model.sha256))
    return {"model": json.dumps([to_json(model), shapes], sort_keys=True), "state": digest}


def _gap(
    run: RunFolder, state: RunState, opened: Run | None, split: str, measurement: Evidence
) -> tuple[Gap | None, tuple[str, ...]]:
    """The parts of the gap, read or computed, or the reason why there are none."""
    if measurement.evidence.bound != "exact":
        return None, ()
    stored = read_stored(run, f"gap-{split}", state)
    if stored is not None:
        return gap_of(*stored), ()

    def split_if_fast(pair: Pair, x: Batch, progress: Progress) -> Gap:
        try:
            fast = plan(pair.model, x, method="enumeration").cells <= CELLS
        except ValueError:  # latents without states, whose gap is split by gradient ascent
            fast = False
        if not fast:
            raise ValueError(f"splitting it may take minutes; run ppl-vae gap {run.folder} --split {split} first")
        return split_gap(pair.model, pair.guide, x, progress=progress)

    try:
        return measure_and_save(opened or open_run(run.folder), f"gap-{split}", split, 0, split_if_fast), ()
    except ValueError as error:
        return None, (f"its gap is not split: {error}",)

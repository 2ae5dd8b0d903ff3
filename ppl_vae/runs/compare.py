"""Several runs taken up again, to be compared: what they have been measured by is read, what is missing is measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppl_vae.data.counts import PackedCounts
from ppl_vae.diagnostics.comparison import MOST_RUNS, Compared, Comparison
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.plan import plan
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.objectives.rate_cost import objective_words
from ppl_vae.plugins.discovery import available
from ppl_vae.runs.config import Pair
from ppl_vae.runs.measure import measure_and_save, measure_evidence, save_figure
from ppl_vae.runs.open import open_run
from ppl_vae.training.run_folder import Run

__all__ = ["compare_runs"]

CELLS = 2**27
"""Most (state, datum) cells for which a gap that was not split yet is split on the way: minutes."""


def compare_runs(folders: Sequence[Path], split: str) -> Comparison:
    """Compares runs on one split; the result goes into the first of them.

    Raises:
        ValueError: If there are fewer than two runs, or their data differ, naming both.
    """
    if not 2 <= len(folders) <= MOST_RUNS:
        raise ValueError(f"a comparison takes 2 to {MOST_RUNS} runs, got {len(folders)}; name their folders")
    runs = [Run.open(folder) for folder in folders]
    for run in runs[1:]:
        _check_same_data(runs[0], run)
    retrained = {run.best_state()[0] for run in runs}
    notes = []
    if len(retrained) > 1:
        if split == "train":
            raise ValueError("some of the runs were trained again on training and validation data: compare on test")
        notes.append("no comparison on training data: some runs were trained again on training and validation data")
    found = [_compared(run, split, len(retrained) == 1) for run in runs]
    if len({run.config["settings"]["seed"] for run in runs}) > 1:
        notes.append("the runs have different seeds, so their models began from different parameters")
    result = Comparison(split, tuple(found), tuple(notes))
    runs[0].write_json(f"compare-{split}.json", result.to_json())
    size = (9.0, 1.9 + 0.6 * len(runs))
    save_figure(runs[0], f"compare-{split}", result, f"{len(runs)} runs on {split} data", size)
    return result


def _check_same_data(first: Run, other: Run) -> None:
    prints = [run.config.get("fingerprint") for run in (first, other)]
    if prints[0] != prints[1]:
        corpora = [", ".join(f"{k} {v}" for k, v in run.config["corpus"].items()) for run in (first, other)]
        raise ValueError(
            f"{first.folder} and {other.folder} were trained on different data, or split otherwise ({corpora[0]}; "
            f"{corpora[1]}): train them with the same --corpus, --vocabulary, --validation and --seed"
        )


def _compared(run: Run, split: str, with_train: bool) -> Compared:
    summary = run.summary
    measurement = _measurement(run, split)
    gap, notes = _gap(run, split, measurement)
    if summary is None or summary["splits"][split]["data"] != len(measurement.evidence.pointwise):
        opened = open_run(run.folder)
        x, pair = opened.data(split), opened.pair.words
        saturated = x.saturated.double().mean().item() if isinstance(x, PackedCounts) else None
        notes = notes if summary else ("not finished; its best state so far", *notes)
    else:
        told, pair = summary["splits"][split], summary["pair"]
        saturated = None if told.get("deviance") is None else told["deviance"] + told["elbo"]
    return Compared(
        name=str(run.folder),
        pair=pair,
        objective=objective_words(run.config),
        model=json.dumps(run.config["model"], sort_keys=True),
        measurement=measurement,
        train=_measurement(run, "train").evidence if with_train else None,
        gap=gap,
        saturated=saturated,
        notes=notes,
    )


def _measurement(run: Run, split: str) -> Evidence:
    """The best measurement there is of a split: exact, else the highest lower bound."""
    found, summary = [], run.summary
    if summary is not None and split not in summary["splits"]:
        raise ValueError(f"{run.folder} has no {split} data; choose from {', '.join(summary['splits'])}")
    values = {} if summary is None else Checkpoint.read(run.folder / "pointwise.safetensors").part(split)
    if summary is not None and "rows" not in values:  # else its table is of a sample
        told = summary["splits"][split]
        parts = {n: {k: told[f"{n}_{k}"] for k in ("method", "bound", "draws")} for n in ("elbo", "evidence", "gap")}
        elbo, evidence, gap = (_estimate(part, values, name) for name, part in parts.items())
        found.append(Evidence(elbo, evidence, gap))
    for method in ("auto", *available("evidence")):
        kept = _kept(run, f"evidence-{split}-{method}")
        if kept is not None:
            elbo, evidence, gap = (_estimate(kept[0][n], kept[1], n) for n in ("elbo", "evidence", "gap"))
            found.append(Evidence(elbo, evidence, gap))
    if not found:
        found.append(measure_evidence(run.folder, split, "auto", run.config["evidence_draws"]))
    rank = {"exact": 2, "lower": 1}
    return max(found, key=lambda m: (rank.get(m.evidence.bound, 0), m.evidence.mean))


def _gap(run: Run, split: str, measurement: Evidence) -> tuple[Gap | None, tuple[str, ...]]:
    """The gap's parts, read or computed, or why there are none."""
    if measurement.evidence.bound != "exact":
        return None, ()
    kept = _kept(run, f"gap-{split}")
    if kept is not None:
        told, values = kept
        evidence, best, elbo = (_estimate(told[name], values, name) for name in ("evidence", "best_of_family", "elbo"))
        return Gap(evidence, best, elbo, told["family"]), ()

    def split_soon(pair: Pair, x: Any, tick: Any) -> Gap:
        if plan(pair.model, x, method="enumeration").cells > CELLS:
            raise ValueError(f"it takes a while; run ppl-vae gap {run.folder} --split {split} first")
        return split_gap(pair.model, pair.guide, x, progress=tick)

    try:
        return measure_and_save(run.folder, f"gap-{split}", split, 0, split_soon)[1], ()
    except ValueError as error:
        return None, (f"its gap is not split: {error}",)


def _kept(run: Run, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Numbers and pointwise values of an earlier measurement of all the data, if it was of the state that is best."""
    if not (run.folder / f"{name}.safetensors").exists():
        return None
    kept = Checkpoint.read(run.folder / f"{name}.safetensors", "delete that file, and it is measured again")
    if "rows" in kept.tensors or kept.state.get("of") != run.best_state()[1]:
        return None
    return run.read_json(f"{name}.json"), kept.tensors


def _estimate(told: dict[str, Any], values: dict[str, Any], name: str) -> Estimate:
    k_hat = values.get("k_hat") if name == "evidence" else None
    return Estimate(values[name], told["method"], told["bound"], told["draws"], values.get(f"{name}_se"), k_hat)

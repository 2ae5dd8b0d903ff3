"""Stored evidence of several runs, by one method with one number of draws, so that their differences are theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ppl_vae.data.json_file import json_of
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.plugins.discovery import available
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.digests import method_digests
from ppl_vae.runs.evidence import measure_evidence
from ppl_vae.runs.open import Run, open_run
from ppl_vae.runs.resumable import delete_blocks
from ppl_vae.runs.state import RunState
from ppl_vae.training.lock import locked
from ppl_vae.training.run_folder import RunFolder, seal

__all__ = ["evidence_of", "gap_of", "measurements", "names_of_stored", "read_stored", "state_of", "stored_measurement"]

AGAIN = "delete that file, and it is measured again"
"""Remedy for a damaged file."""


@dataclass(frozen=True)
class _Measured:
    """A measurement of a run.

    Arguments:
        evidence: The measurement.
        requested: Name of the method asked for, ``"auto"`` where it was chosen.
    """

    evidence: Evidence
    requested: str

    @property
    def settings(self) -> set[str]:
        """Descriptions of how it was made, of which two that are comparable share one."""
        estimate = self.evidence.evidence
        return {estimate.method} | ({f"auto, {estimate.draws} draws"} if self.requested == "auto" else set())

    @property
    def rank(self) -> tuple[int, float]:
        """Exact numbers are the best, then the highest lower bound."""
        estimate = self.evidence.evidence
        return {"exact": 2, "lower": 1}.get(estimate.bound, 0), estimate.mean


def measurements(
    runs: Sequence[RunFolder], opened: Sequence[Run | None], split: str
) -> tuple[list[Evidence], list[str]]:
    """A measurement of each run, and remarks on how they were made.

    Exact evidence is taken where it is stored. The others are taken by the same method with the same draws, the best
    that is stored of all of them; where there is none, those are measured again that the automatic choice has measured
    with fewer draws than others, or not at all.

    Arguments:
        runs: Folders of the runs.
        opened: The opened runs, of those that are open already.
        split: Name of the split.

    Raises:
        ValueError: If a run has no such split.
    """

    def measured(place: int, draws: int) -> _Measured:
        run = opened[place] or open_run(runs[place].folder)
        return _Measured(measure_evidence(run, split, "auto", draws), "auto")

    found = [_all_stored(run, split, state_of(run, each)) for run, each in zip(runs, opened, strict=True)]
    automatic = [m.evidence.evidence.draws for each in found for m in each if m.requested == "auto"]
    most = max([*automatic, *(RunConfig.of(run).evidence_draws for run in runs)])
    for place, each in enumerate(found):
        if not each:
            each.append(measured(place, most))
    chosen = [max(each, key=lambda m: m.rank) for each in found]
    sampled = [place for place, best in enumerate(chosen) if best.evidence.evidence.bound != "exact"]
    if len(sampled) < 2:
        return [best.evidence for best in chosen], []
    common = set.intersection(*({name for m in found[place] for name in m.settings} for place in sampled))
    if not common:
        setting = f"auto, {most} draws"
        for place in sampled:
            if not any(setting in m.settings for m in found[place]):
                found[place].append(measured(place, most))
        common = {setting}
    same = {
        name: [max((m for m in found[place] if name in m.settings), key=lambda m: m.rank) for place in sampled]
        for name in common
        if all(any(name in m.settings for m in found[place]) for place in sampled)
    }
    if not same:  # measured again, some turned out otherwise: their own methods are named beside their numbers
        return [best.evidence for best in chosen], ["the evidence of the runs is measured by different methods"]
    name = max(same, key=lambda name: (min(m.rank[0] for m in same[name]), sum(m.rank[1] for m in same[name])))
    notes = []
    for place, taken in zip(sampled, same[name], strict=True):
        better, chosen[place] = chosen[place], taken
        if better.rank > taken.rank:
            notes.append(
                f"{runs[place].folder} also has the evidence by {better.evidence.evidence.method}, which is not taken, "
                "since others have none by it: measure them by it, too"
            )
    return [best.evidence for best in chosen], notes


def state_of(run: RunFolder, opened: Run | None) -> RunState:
    """The state that is measured of a run, which need not be open."""
    return RunState.of(run) if opened is None else opened.state


def _all_stored(run: RunFolder, split: str, state: RunState) -> list[_Measured]:
    """The stored measurements of all data of a split in a state of a run."""
    summary, found = state.summary(run), []
    if summary is not None and split not in summary["splits"]:
        raise ValueError(f"{run.folder} has no {split} data; choose from {', '.join(summary['splits'])}")
    if summary is not None:
        values = Checkpoint.read(run.folder / "pointwise.safetensors").part(split)
        if "rows" not in values:  # else the summary is of a sample
            found.append(("auto", summary["splits"][split], values))
    for method in ("auto", *available("evidence")):
        if (each := read_stored(run, f"evidence-{split}-{method}", state, method_digests(method))) is not None:
            found.append((method, *each))
    return [_Measured(evidence_of(content, values), method) for method, content, values in found]


def read_stored(
    run: RunFolder, name: str, state: RunState, digests: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """JSON and pointwise values of a stored measurement of all data of a split in a state of the run.

    Arguments:
        run: The run.
        name: Name of the measurement.
        state: The state.
        digests: Of the user's own files that measure: what others have measured is not taken.
    """
    found = stored_measurement(run, name, state)
    if found is None or "rows" in found[1].tensors or found[1].state.get("digests", {}) != (digests or {}):
        return None
    return found[0], found[1].tensors


def stored_measurement(run: RunFolder, name: str, state: RunState) -> tuple[dict[str, Any], Checkpoint] | None:
    """JSON and values per datum of a stored measurement, if they are of a state of the run and belong together.

    A kill between the two files leaves those of two measurements; one after them leaves the lock under which they were
    written, and blocks that are in them, which are removed.

    Arguments:
        run: The run.
        name: Name of the measurement.
        state: The state.
    """
    named = state.named(name)
    lock = f".{named}.lock"
    if not (run.folder / lock).exists():
        return _stored(run.folder / named, state)
    # A process writes them, or was killed there.
    with locked(run.folder, f"reads {named} there", wait=True, name=lock):
        found = _stored(run.folder / named, state)
        if found is not None:
            delete_blocks(run.folder / "partial" / named, found[1].state.get("blocks", ""))
    return found


def _stored(stem: Path, state: RunState) -> tuple[dict[str, Any], Checkpoint] | None:
    path, beside = stem.with_name(f"{stem.name}.safetensors"), stem.with_name(f"{stem.name}.json")
    if not path.exists() or not beside.exists():
        return None
    values, content = Checkpoint.read(path, AGAIN), beside.read_bytes()
    if values.state.get("json") != seal(content) or values.state.get("of") != state.key:
        return None
    found: dict[str, Any] = json_of(str(beside), content, AGAIN)
    return found, values


def names_of_stored(run: RunFolder, prefix: str, state: RunState) -> list[str]:
    """Names of the measurements of a run that begin so, of those that code like that of a state may have made."""
    end = state.named("")
    stems = sorted(file.stem for file in run.folder.glob(f"{prefix}*.json") if file.stem.endswith(end))
    return [stem.removesuffix(end) for stem in stems]


def evidence_of(content: Mapping[str, Any], values: Mapping[str, Tensor]) -> Evidence:
    """ELBO, evidence and gap of a stored measurement."""
    return Evidence(**_estimates(content, values, elbo="elbo", evidence="evidence", gap="gap"))


def gap_of(content: Mapping[str, Any], values: Mapping[str, Tensor]) -> Gap:
    """The gap in its parts of a stored split."""
    estimates = _estimates(content, values, evidence="evidence", best="best_of_family", elbo="elbo")
    return Gap(**estimates, family=content["family"])


def _estimates(content: Mapping[str, Any], values: Mapping[str, Tensor], **names: str) -> dict[str, Any]:
    """Estimates of a stored result by argument of its class, each with its name in JSON."""
    return {field: Estimate.stored(content[name], values, name) for field, name in names.items()}

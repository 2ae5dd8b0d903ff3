"""An experiment in short, which tells what it would cost: some steps of each training, measurements of few data."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.objectives.base import Objective
from ppl_vae.programs.random_state import fork_random_state, subsample
from ppl_vae.runs.config import RunConfig, to_json
from ppl_vae.runs.pair import Pair, make_objective
from ppl_vae.runs.rates import clock_of, measurement_seconds, training_seconds
from ppl_vae.runs.train import measured_splits
from ppl_vae.studies.cell_table import reasons
from ppl_vae.studies.study import Compute, Labels, Study, error_in_words
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings
from ppl_vae.training.trainer import Trainer

__all__ = ["Rehearsal"]

T = TypeVar("T")

PATIENCE = "trainings may end before the end of their schedule (patience): it is at most this"

SAME_COST = ("seed", "beta", "learning_rate", "weight_decay", "decay", "free_bits", "rate")
"""Labels in which cells may differ that cost the same."""


class Rehearsal(Study):
    """A study that computes one cell of those that cost the same, in short, and adds up what all would take.

    Arguments:
        folder: An empty folder, for what trainings leave behind.
        device: Device to compute on.
        stored: Names of the cells that are stored already, which cost nothing.
    """

    def __init__(self, folder: Path, device: str, stored: Callable[[str], bool]) -> None:
        super().__init__(folder, {"rehearsal": True}, device)
        self.is_stored, self.clock = stored, clock_of(device)
        self.cells: dict[str, float] = {}
        self.known, self.inside, self._saved = 0, 0.0, 0.0
        self.notes: dict[str, None] = {}

    def attempted(
        self, cells: Mapping[str, Compute], labels: Labels | None = None
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
        """Returns for all cells the values of those that are rehearsed."""
        costs, values = dict[object, float](), dict[object, dict[str, Tensor]]()
        faults, done, failed = dict[object, str](), {}, {}
        for name, compute in cells.items():
            kind = self._kind(name, labels)
            if kind in faults:
                failed[name] = faults[kind]
                continue
            if kind not in costs:
                try:
                    if not costs:  # what is done once, such as imports, is not the cell's
                        before = set(self.folder.glob("runs/*"))
                        self.values(name, compute)
                        self._forget(name, before)
                    begun, self._saved = self.clock(), 0.0
                    values[kind] = self.values(name, compute)
                except Exception as error:
                    faults[kind] = failed[name] = error_in_words(error)
                    continue
                spent = self.clock() - begun
                self.inside += spent
                costs[kind] = spent + self._saved
            done[name] = values[kind]
            if self.is_stored(name):
                self.known += 1
            else:
                self.cells[name] = costs[kind]
        self.notes |= {f"not in it, since they cannot be rehearsed: {line}": None for line in reasons(failed)}
        return done, failed

    def _forget(self, name: str, before: set[Path]) -> None:
        """Removes what a cell stored, and the runs that were not there before."""
        (self.folder / "values" / f"{name}.safetensors").unlink()
        for run in set(self.folder.glob("runs/*")) - before:
            shutil.rmtree(run, ignore_errors=True)

    def _kind(self, name: str, labels: Labels | None) -> object:
        known = (labels or {}).get(name)
        if known is None:
            return re.sub(r"-\d+$", "", name)
        return tuple(item for item in known.items() if item[0] not in SAME_COST)

    def train(
        self,
        name: str,
        model: torch.nn.Module,
        guide: torch.nn.Module,
        x: Batch,
        settings: Settings,
        *,
        validation: Batch | None = None,
        objective: Objective | None = None,
        estimator: str = "enumerate",
    ) -> Trainer:
        """Trains for an epoch, and counts the whole schedule."""
        begun, options = self.clock(), {"objective": objective, "estimator": estimator}
        few = replace(settings, schedule=[(1, settings.schedule[-1][1])], patience=0, dreams=0.0)
        part, some = _first(x, 2 * settings.batch_size), None if validation is None else _first(validation, 50)
        trainer = super().train(name, model, guide, part, few, validation=some, **options)  # type: ignore[arg-type]
        whole = Trainer(model, guide, trainer.objective, trainer.run, settings)
        with fork_random_state():
            self._count(training_seconds(whole, x, validation, self.clock), begun, settings)
        return trainer

    def _count(self, seconds: float, begun: float, settings: Settings) -> None:
        """Counts the seconds of the whole instead of those since it was begun."""
        self._saved += seconds - (self.clock() - begun)
        if settings.patience:
            self.notes[PATIENCE] = None

    def finished(self, name: str, config: RunConfig) -> dict[str, Any]:
        """Trains for an epoch of two batches and measures few data, and counts the whole run."""
        corpus = config.load_corpus()
        begun, device = self.clock(), torch.device(config.device)
        splits: dict[str, Batch] = {str(name): data.values.to(device) for name, data in corpus.splits.items()}
        train, validation = splits["train"], splits["validation"] if len(splits["validation"]) else None
        settings = config.settings.settled(len(train))
        pair = Pair.from_config(config, train, start=config.start)
        objective, _, settings = make_objective(config, pair, settings, train[: settings.batch_size])
        config = replace(config, settings=settings, fingerprint=corpus.fingerprint)
        run = RunFolder.create(self.folder / "runs" / name, to_json(config))
        short = Trainer(pair.model, pair.guide, objective, run, replace(settings, schedule=[(1, settings.draws(1))]))
        torch.manual_seed(settings.seed)
        short.fit(_first(train, 2 * settings.batch_size), None if validation is None else _first(validation, 50))
        whole = Trainer(pair.model, pair.guide, objective, run, settings)
        seconds = training_seconds(whole, train, validation, self.clock)
        if config.retrain and validation is not None:
            seconds *= 1 + (len(train) + len(validation)) / len(train)
        short.restore_best()
        found = {}
        for split, x in splits.items():
            if len(x):
                rows = subsample(len(x), config.evidence_data)
                count = len(x) if rows is None else len(rows)

                def measured(few: int, split: str = split, x: Batch = x) -> Any:
                    return measured_splits(pair, {split: x[:few]}, config, None)[0][split]

                found[split], took = measurement_seconds(measured, count, self.clock)
                seconds += took
        self._count(seconds, begun, settings)
        return {"best_epoch": 1, "splits": {split: each.to_json() for split, each in found.items()}}

    def of_data(self, measured: Callable[[int], T], data: int) -> T:
        """Measures few data, and counts all."""
        begun = self.clock()
        found, seconds = measurement_seconds(measured, data, self.clock)
        self._saved += seconds - (self.clock() - begun)
        return found


def _first(x: Batch, count: int) -> Batch:
    """The first data; all of what draws its own."""
    return x[:count] if len(x) > count else x

"""Tuning: the cells of a sweep by successive halving on validation data, through Optuna and a journal in the folder.

Each trial trains one cell. After an epoch its validation ELBO is compared with that of the other trials at the same
epoch, and of those that reach a rung (the ninth part of the epochs, the third, all) about a third goes on: asynchronous
successive halving. Processes on several machines that run the same command share the journal, and so the trials.

References:
    L. Li, K. Jamieson et al. (2020), A system for massively parallel hyperparameter tuning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ppl_vae.evidence.tables import text_table
from ppl_vae.plugins.extras import install
from ppl_vae.runs.config import RunConfig
from ppl_vae.studies.cell_table import write_table
from ppl_vae.training.lock import holder
from ppl_vae.training.logging import logged_to
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import EPOCHS

__all__ = ["Criterion", "Tuned", "tune"]

Criterion = Literal["elbo", "evidence"]
"""What of the validation data chooses: the ELBO of the best epoch, or the evidence of the final table."""

KEPT = 3
"""Of how many trials at a rung about one goes on."""

SCORE = "validation_elbo"


class _Pruned(BaseException):
    """A trial that does not go on: no error, which a logger would outlive."""


@dataclass(frozen=True)
class Tuned:
    """Trials of a sweep, the best first; test data took no part.

    Arguments:
        folder: Folder of the sweep, whose ``runs/CELL`` are the trials.
        criterion: What chose.
        rows: Of each cell its name, what it is of, ``state``, ``epochs`` trained and ``validation``, in nats per datum.
    """

    folder: Path
    criterion: Criterion
    rows: Sequence[Mapping[str, Any]]

    @property
    def best(self) -> Mapping[str, Any]:
        """The chosen cell."""
        return self.rows[0]

    def to_json(self) -> dict[str, Any]:
        return {"criterion": self.criterion, "best": str(self.best["cell"]), "rows": [dict(row) for row in self.rows]}

    def __str__(self) -> str:
        columns = ("cell", "state", "epochs", f"validation {self.criterion}")
        lines = [
            (row["cell"], row["state"], str(row["epochs"]), f"{row['validation']:.3f}" if row["validation"] else "")
            for row in self.rows
        ]
        title = f"{len(lines)} trials, by validation {self.criterion}, nats per datum"
        chosen = f"chosen: {self.best['cell']}, the run {self.folder / 'runs' / self.best['cell']}; "
        spent = sum(row["epochs"] for row in self.rows)
        return f"{text_table(title, columns, lines, left=columns[:2])}\n{chosen}{spent} epochs in all"

    __repr__ = __str__


class _Reports:
    """Tells a trial the best validation ELBO after each epoch, and ends the training where Optuna prunes it."""

    def __init__(self, trial: Any) -> None:
        self.trial, self.best = trial, -math.inf

    def begin(self, folder: Path, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        self.name = name
        for row in rows:
            self._tell(row)

    def log(self, row: Mapping[str, object]) -> None:
        self._tell(row)
        if self.name == "train" and self.trial.should_prune():
            raise _Pruned

    def _tell(self, row: Mapping[str, object]) -> None:
        if self.name == "train" and isinstance(score := row.get(SCORE), float):
            self.best = max(self.best, score)
            self.trial.report(self.best, int(str(row["epoch"])))


def tune(
    run: RunFolder,
    cells: Mapping[str, tuple[RunConfig, Mapping[str, object]]],
    criterion: Criterion,
    finished: Callable[[str, RunConfig], Mapping[str, Any]],
) -> Tuned:
    """Trains cells of a sweep until one is chosen; the same command continues, and may run on several machines.

    Arguments:
        run: Folder of the sweep.
        cells: Configuration and labels by the name of the cell.
        criterion: What of the validation data chooses.
        finished: Trains a cell, or continues its training, and returns its summary.

    Raises:
        ValueError: If Optuna is not installed, or no cell can be trained.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise ValueError(f"tuning needs Optuna ({error}): {install('tune')}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    states, epochs = optuna.trial.TrialState, max(config.settings.epochs or EPOCHS for config, _ in cells.values())
    study = optuna.create_study(
        study_name="tune",
        storage=JournalStorage(JournalFileBackend(str(run.folder / "tune.journal"))),
        sampler=optuna.samplers.RandomSampler(seed=0),  # of cells that are enqueued it draws nothing
        pruner=optuna.pruners.SuccessiveHalvingPruner(max(1, epochs // KEPT**2), KEPT),
        direction="maximize",
        load_if_exists=True,
    )

    def trial_of(trial: Any) -> float:
        name = trial.suggest_categorical("cell", list(cells))
        reports = _Reports(trial)
        try:
            with logged_to(reports):
                summary = finished(name, cells[name][0])
        except _Pruned:
            raise optuna.TrialPruned from None
        if criterion == "evidence":
            return float(summary["splits"]["validation"]["evidence"]["mean"])
        rows = run_of(name).metrics("train-metrics")
        return float(max(row[SCORE] for row in rows if row.get(SCORE) is not None))

    def run_of(name: str) -> RunFolder:
        return RunFolder(run.folder / "runs" / name)

    def stop_at_last(study: Any, trial: Any) -> None:
        if not study.get_trials(states=(states.WAITING,)):
            study.stop()

    known = {trial.system_attrs["fixed_params"]["cell"]: trial.state for trial in study.get_trials()}
    lost = {states.FAIL, states.RUNNING}  # by a kill, unless another process trains there
    for name in cells:
        if name not in known or (known[name] in lost and holder(run_of(name).folder) is None):
            study.enqueue_trial({"cell": name}, skip_if_exists=False)
    if waiting := len(study.get_trials(states=(states.WAITING,))):
        log(f"{waiting} of {len(cells)} trials are to be made")
        study.optimize(trial_of, callbacks=[stop_at_last], catch=(ValueError,))
    rows = []
    for trial in study.get_trials(states=(states.COMPLETE, states.PRUNED, states.FAIL)):
        name = trial.params["cell"]
        score = trial.value if trial.state == states.COMPLETE else None
        epochs_done = len(run_of(name).metrics("train-metrics")) if run_of(name).folder.exists() else 0
        row = {"cell": name, **cells[name][1], "state": trial.state.name.lower(), "epochs": epochs_done}
        rows.append(row | {"validation": score, "failed": ""})
    if not any(row["validation"] is not None for row in rows):
        raise ValueError(f"no trial of {run.folder} was trained to its end; look into its runs")
    by_name = {row["cell"]: row for row in rows}
    ordered = sorted(by_name.values(), key=lambda row: -math.inf if row["validation"] is None else row["validation"])
    write_table(run, ordered[::-1])
    return Tuned(run.folder, criterion, ordered[::-1])

"""The folder of an experiment: trainings, values stored cell by cell, figures, and the report."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyro
import torch
from torch import Tensor

from ppl_vae.data.files import remove_strays
from ppl_vae.data.inputs import Batch
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.objectives.base import Objective
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.loading import find
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.runs import train as workflow
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.engines.base import Engine, make_engine
from ppl_vae.runs.place import Place, TaskError
from ppl_vae.runs.rates import clock_of
from ppl_vae.studies.cell_table import cell_row, reasons, write_table
from ppl_vae.studies.report import Report
from ppl_vae.training.lock import LOCK, is_foreign
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder, versions
from ppl_vae.training.settings import Settings
from ppl_vae.training.trainer import Trainer

__all__ = ["Study", "digest", "error_in_words"]

Compute = Callable[[], Mapping[str, Tensor | float]]

T = TypeVar("T")

Labels = Mapping[str, Mapping[str, object]]
"""What cells are of by name: family, seed and so on."""


def documented_guide(name: str, model: torch.nn.Module, x: Batch, **options: object) -> torch.nn.Module:
    """A shipped guide as those of the documented figures: begun at random, its data as they are, its layers ReLU."""
    definition = find("guides", name, own=False)
    known = {"activation": "relu"} if any(each.name == "activation" for each in definition.options()) else {}
    guide: torch.nn.Module = definition.target(model, x[:2], **(known | options))
    return guide


class Study:
    """The folder that stores the results of an experiment, so that an interrupted one resumes.

    Arguments:
        folder: Folder of the experiment, created if missing.
        identity: Everything that the results depend on, as JSON holds it: the experiment, its preset and settings.
        device: Device to compute on.
        engine: What computes its cells; by default this process, one after the other.

    Raises:
        ValueError: If the folder holds another experiment, or this one with other settings, naming them.
    """

    def __init__(
        self, folder: Path, identity: dict[str, Any], device: str = "cpu", engine: Engine | None = None
    ) -> None:
        # Absolute: other processes compute cells for it, with other working folders perhaps.
        self.folder, self.device = folder.resolve(), torch.device(device)
        self.engine = make_engine() if engine is None else engine
        self.run = RunFolder(self.folder)
        self.clock = clock_of(device)
        self.took: dict[str, float] = {}
        self._rows: dict[str, dict[str, object]] = {}
        if (folder / "experiment.json").exists():
            stored = self.run.read_json("experiment.json")
            changed = [key for key, value in json.loads(json.dumps(identity)).items() if stored.get(key) != value]
            if changed:
                known = {key: repr(stored.get(key)) for key in changed}
                shown = {key: text if len(text) < 200 else f"{text[:200]}..." for key, text in known.items()}
                changes = ", ".join(f"{key} {shown[key]} is now {identity[key]!r}" for key in changed)
                raise ValueError(f"{folder} holds an experiment with other settings ({changes}); choose another --out")
        elif folder.exists() and (not folder.is_dir() or any(is_foreign(path) for path in folder.iterdir())):
            raise ValueError(f"{folder} exists and holds no experiment; choose another --out")
        else:
            self.run.write_json("experiment.json", identity | {"versions": versions()})
        remove_strays(self.folder)
        self.run.watch()

    def values(self, name: str, compute: Compute) -> dict[str, Tensor]:
        """Returns tensors by name, computed unless they are stored under this name; numbers become float64.

        The random state depends on the name alone, not on what was computed before.
        """
        if (stored := self.stored(name)) is not None:
            return stored
        log(name)
        with fork_random_state(zlib.crc32(name.encode())), pyro.validation_enabled(False):
            computed = compute()
        tensors = {k: v if isinstance(v, Tensor) else torch.tensor(v, dtype=torch.float64) for k, v in computed.items()}
        self.run.write_tensors(f"values/{name}", Checkpoint(tensors, {}))
        # On the CPU, as the next call will read them.
        return {key: value.detach().cpu() for key, value in tensors.items()}

    def stored(self, name: str) -> dict[str, Tensor] | None:
        """Returns the tensors that are stored under a name; None if there are none, or they are damaged."""
        path = self.folder / "values" / f"{name}.safetensors"
        if not path.exists():
            return None
        try:
            return Checkpoint.read(path).tensors
        except ValueError:
            log(f"{path} is damaged: computing it again")
            path.unlink(missing_ok=True)
            return None

    def together(self, cells: Mapping[str, Compute], labels: Labels | None = None) -> dict[str, dict[str, Tensor]]:
        """Like :meth:`values` for many independent cells, which the engine computes.

        Arguments:
            cells: Functions by the name of the cell.
            labels: What each cell is of, for the columns of the table.

        Raises:
            ValueError: Naming the cells that failed, once all others are stored.
        """
        done, failed = self.attempted(cells, labels)
        if failed:
            others = ", the others are stored" if len(failed) < len(cells) else ""
            raise ValueError(f"{len(failed)} of {len(cells)} cells failed{others}: {'; '.join(reasons(failed))}")
        return done

    def attempted(
        self, cells: Mapping[str, Compute], labels: Labels | None = None
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
        """Returns the values of the cells that did not fail, and the reasons why the others did."""
        known = {name: self.stored(name) for name in cells}
        done = {name: values for name, values in known.items() if values is not None}
        if len(done) < len(cells) and done:
            log(f"{len(done)} of {len(cells)} cells are stored already")
        tasks = {name: partial(self._timed, name, compute) for name, compute in cells.items() if name not in done}
        failed = {}
        for name, result in self.engine.compute("cells", tasks, Place.here(self.folder, "experiment.json")):
            # Values of a process that was killed after it had stored them are there.
            values, seconds = (self.stored(name), 0.0) if isinstance(result, Exception) else result
            self.took[name] = seconds
            if values is not None:
                done[name] = values
            else:
                failed[name] = error_in_words(result)
                log(f"{name} failed: {failed[name]}")
        for name in cells:
            known_as = (labels or {}).get(name, {})
            self._rows[name] = cell_row(name, known_as, done.get(name, {}), failed.get(name, ""))
        return {name: done[name] for name in cells if name in done}, failed

    def of_data(self, measured: Callable[[int], T], data: int) -> T:
        """Returns a measurement of so many data, whose time grows with them."""
        return measured(data)

    def _timed(self, name: str, compute: Compute) -> tuple[dict[str, Tensor], float]:
        begun = self.clock()
        return self.values(name, compute), self.clock() - begun

    def check(self, name: str, config: RunConfig) -> None:
        """Compares the configuration of an existing run with a given one.

        Raises:
            ValueError: If they differ, naming the entries.
        """
        run = RunFolder(self.folder / "runs" / name)
        if not (run.folder / "config.json").exists():
            return
        if differences := RunConfig.of(run).differences(config):
            raise ValueError(
                f"{run.folder} was started with another configuration ({'; '.join(differences)}); choose another "
                "--out, or remove that folder"
            )

    def finished(self, name: str, config: RunConfig) -> dict[str, Any]:
        """Returns the summary of a run of ``ppl-vae train``, which is started or resumed unless it is finished.

        Arguments:
            name: Name of the run below the study's folder.
            config: Configuration of the run.

        Raises:
            ValueError: If the run was started with another configuration.
        """
        self.check(name, config)
        run = RunFolder(self.folder / "runs" / name)
        # A lock is left by a process that was killed there, perhaps after the summary and before the figures.
        if run.summary is None or (run.folder / LOCK).exists():
            started = (run.folder / "config.json").exists()
            workflow.resume(run.folder) if started else workflow.train(config, run.folder)
        summary = run.summary
        assert summary is not None
        return summary

    def pair(
        self,
        model: str | torch.nn.Module,
        guide: str,
        x: Batch,
        seed: int,
        *,
        guide_options: Mapping[str, object] | None = None,
        **options: object,
    ) -> tuple[Any, Any]:
        """Returns a new pair on the study's device, its parameters drawn from the seed.

        Arguments:
            model: Name of a shipped model, or a model.
            guide: Name of a shipped guide.
            x: Training data, whose shape or vocabulary the model's constructor takes.
            seed: Seed of the initial parameters.
            guide_options: Options of the guide's constructor.
            options: Options of the model's constructor.
        """
        torch.manual_seed(seed)
        if isinstance(model, str):
            definition = find("models", model, own=False)
            model = definition.target(**definition.facts(x), **options)
        assert isinstance(model, torch.nn.Module)
        model.to(self.device)
        built = documented_guide(guide, model, x[:2].to(self.device), **(guide_options or {}))
        return model, built.to(self.device)

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
        """Trains a pair, resumes its training, or restores the state that a finished training ended with.

        Arguments:
            name: Name of the run below the study's folder.
            model: The model, left in its best state; parameters that need no gradient stay as they are.
            guide: The guide, left in its best state.
            x: Training data.
            settings: How to train.
            validation: Data that choose the best epoch; without them the last state counts.
            objective: By default the ELBO.
            estimator: Gradient estimator of the ELBO; replaced where it does not fit.

        Returns:
            The trainer, for its ``rows``.
        """
        run, identity = RunFolder(self.folder / "runs" / name), {"settings": json.loads(json.dumps(asdict(settings)))}
        if not (run.folder / "config.json").exists():
            RunFolder.create(run.folder, identity)
        elif run.config.get("settings") != identity["settings"]:
            raise ValueError(f"{run.folder} was started with other settings; choose another --out")
        model.to(self.device)
        guide.to(self.device)
        if objective is None:
            # The documented figures of the experiments are of rates from draws.
            objective = DiscreteELBO(estimator, kl="sampled")
        trainer = Trainer(model, guide, objective, run, settings)
        with fork_random_state(settings.seed):
            if not trainer.resume():
                log(f"{name}: {settings.epochs} epochs of {len(x)} data")
            trainer.fit(x, validation)
            trainer.restore_best()
        return trainer

    def figure(self, name: str, draw: Callable[[Any], None], size: tuple[float, float]) -> None:
        """Draws a figure into the folder, as PNG for the screen and as PDF for a paper."""
        self.run.figure(name, draw, size, ("png", "pdf"))

    def finish(self, report: Report, command: str = "") -> None:
        """Writes the report, as JSON and as pages with the command that makes it, and the table of all cells."""
        from ppl_vae.studies.page import write_pages

        write_table(self.run, list(self._rows.values()))
        self.run.write_json("report.json", report.to_json())
        write_pages(self.run, report, command)


def digest(identity: object) -> str:
    """Returns eight hexadecimal digits that tell settings apart, which JSON can hold."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


def error_in_words(error: object) -> str:
    """An error's message, after its kind where the message is not written for users."""
    return str(error) if isinstance(error, (ValueError, TaskError)) else f"{type(error).__name__}: {error}"

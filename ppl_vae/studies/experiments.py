"""Finds experiments by name and runs them."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cloudpickle import register_pickle_by_value
from msgspec import Meta

from ppl_vae.evidence.tables import text_table
from ppl_vae.plugins.discovery import available, find
from ppl_vae.plugins.options import PluginChoice
from ppl_vae.plugins.user_files import modules_beside
from ppl_vae.runs.devices import DeviceOption, resolve_device
from ppl_vae.runs.engines.base import make_engine
from ppl_vae.runs.package_digest import package_digest
from ppl_vae.studies.bill import Bill, add_up
from ppl_vae.studies.rehearsal import Rehearsal
from ppl_vae.studies.report import Report
from ppl_vae.studies.study import Study, error_in_words
from ppl_vae.studies.sweep import Sweep, tuning_cells
from ppl_vae.studies.tune import Criterion, Tuned
from ppl_vae.studies.tune import tune as tune_cells
from ppl_vae.training.lock import locked
from ppl_vae.training.progress import collecting, log
from ppl_vae.training.run_folder import Interrupted

__all__ = ["Experiment", "Experiments", "experiment", "find_experiment"]

SMOKE = "preset smoke cuts trainings short, and its numbers of trained pairs are no results; take --preset cpu"


@dataclass(frozen=True)
class Experiment:
    """An experiment, which reproduces a table or figure.

    A Python file defines ``PRESETS``, settings by the name of the preset, and ``run(study, **settings)``, which returns
    a :class:`~ppl_vae.studies.report.Report`; a TOML file is a :class:`~ppl_vae.studies.sweep.Sweep`.

    Arguments:
        file: Path of the file, whose name is that of the experiment.
        summary: Summary in one sentence.
        presets: Settings by name of the preset.
        run: Function from a study and settings to a report.
        sweep: The sweep of a TOML file; None for a Python file.
    """

    file: Path
    summary: str
    presets: dict[str, dict[str, Any]]
    run: Callable[..., Report]
    sweep: Sweep | None = None

    @property
    def name(self) -> str:
        return self.file.stem


@dataclass(frozen=True)
class Experiments:
    """The summaries of all experiments, by name.

    Arguments:
        lines: First paragraph of each file's docstring, by name.
    """

    lines: dict[str, str]

    @classmethod
    def take(cls) -> Experiments:
        """Finds shipped experiments and those in ``experiments/`` of the working folder, without running any."""
        return cls({name: plugin.summary for name, plugin in available("experiments").items()})

    def to_json(self) -> dict[str, str]:
        return self.lines

    def __str__(self) -> str:
        columns = ("name", "summary")
        title = "ppl-vae experiment NAME"
        return text_table(title, columns, list(self.lines.items()), left=columns, boxed=False)


def find_experiment(name: str) -> Experiment:
    """Returns an experiment by name (``gmm``) or path; those in ``experiments/`` of the working folder win.

    Raises:
        ValueError: If there is none, listing the choices; or if the file is no experiment.
    """
    plugin = find("experiments", name)
    file = plugin.file
    if file.suffix == ".toml":
        sweep = Sweep.read(file)
        seeds = {name: {"seeds": preset.seeds} for name, preset in sweep.presets.items()}
        return Experiment(file, sweep.about, seeds, sweep.run, sweep)
    module = plugin.load()
    missing = [part for part in ("PRESETS", "run") if not hasattr(module, part)]
    if not missing and not isinstance(module.PRESETS, dict):
        raise ValueError(f"{file}: PRESETS must be a dictionary of settings by preset, got {module.PRESETS!r}")
    if missing:
        raise ValueError(
            f"{file} is no experiment: it lacks {' and '.join(missing)}; see the docstring of experiments/gmm.py"
        )
    if not plugin.shipped:
        for each in (module, *modules_beside(module)):
            register_pickle_by_value(each)  # other processes cannot import it by name
    return Experiment(file, plugin.summary, module.PRESETS, module.run)


def experiment(
    name: str | Path,
    *,
    preset: str = "smoke",
    seeds: Annotated[int, Meta(ge=1)] | None = None,
    engine: Annotated[str, PluginChoice("engines")] = "local",
    jobs: Annotated[int, Meta(ge=1)] = 1,
    address: str | None = None,
    threads: Annotated[int, Meta(ge=1)] | None = None,
    gpus: Annotated[float, Meta(gt=0)] | None = None,
    retry: Annotated[int, Meta(ge=0)] | None = None,
    device: DeviceOption = "auto",
    out: str | Path | None = None,
    dry_run: bool = False,
    tune: Criterion | None = None,
) -> Report | Bill | Tuned:
    """Runs or resumes an experiment or a sweep, and writes its report, as ``ppl-vae experiment`` does.

    Arguments:
        name: Name of the experiment, or path of its file.
        preset: Name of one of its presets: ``smoke`` (seconds), ``cpu`` (minutes to hours) or ``paper``.
        seeds: Number of repetitions, instead of the preset's.
        engine: What computes the cells: ``local`` (this machine), ``dask``, ``ray``, or a file of your own. Workers on
            other machines write into the folder of the results, which a file system must share under one path.
        jobs: Number of cells computed at once, each on its share of the cores, where the engine starts its own workers.
        address: Address of a cluster that runs already, such as ``tcp://HOST:8786`` of a Dask scheduler.
        threads: Number of threads of a cell; by default its share of the cores, and 1 on Dask and Ray.
        gpus: Share of a GPU that a cell has, on Dask and Ray.
        retry: How often Dask or Ray tries a cell again that failed, or lost its worker; by default 0 and 3 times.
        device: Device to compute on; auto is CUDA where there is one.
        out: Folder of the results; by default ``runs/NAME-PRESET``.
        dry_run: Whether to compute nothing but the :class:`~ppl_vae.studies.bill.Bill`: the cells and their core-hours,
            from some steps of each training and measurements of few data. It is stored as ``bill.json``, and compared
            in ``took.json`` with what the cells take.
        tune: Whether to choose one cell of a sweep, of its first seed, by successive halving on validation data: by
            their ``"elbo"``, or in the end by their ``"evidence"``. Needs ``pip install 'ppl-vae[tune]'``.

    Raises:
        ValueError: If there is no such experiment or preset, or the folder holds something else.
    """
    computing = make_engine(engine, jobs=jobs, address=address, threads=threads, gpus=gpus, retry=retry)
    # A machine that sends cells to GPUs need have none.
    chosen = find_experiment(str(name))
    device = "cuda" if gpus and device == "auto" else device if gpus else resolve_device(device)
    if preset not in chosen.presets:
        raise ValueError(f"experiment {chosen.name} has no preset {preset!r}; choose from {', '.join(chosen.presets)}")
    settings = dict(chosen.presets[preset])
    if seeds is not None and "seeds" not in settings:
        raise ValueError(f"experiment {chosen.name} has no random numbers, so it takes no --seeds")
    settings |= {} if seeds is None else {"seeds": seeds}
    folder = Path("runs") / f"{chosen.name}-{preset}" if out is None else Path(out)
    identity: dict[str, Any] = {"experiment": chosen.name, "preset": preset, "device": device}
    identity["code"] = package_digest()  # cells of one report are computed by one code
    if chosen.sweep is None:
        # More seeds continue the stored ones; values of another version of the file are not reused.
        fixed = {k: v for k, v in settings.items() if k != "seeds"}
        identity |= {"settings": fixed, "source": hashlib.sha256(chosen.file.read_bytes()).hexdigest()[:16]}
    else:
        # A sweep checks each of its cells before anything is written, and may be given more of them.
        cells = replace(chosen.sweep.presets[preset], seeds=settings["seeds"])
        settings = {"preset": cells, "configs": chosen.sweep.configs(cells, device)}
    if tune is not None:
        if chosen.sweep is None:
            raise ValueError(f"{chosen.name} is no sweep: --tune chooses among the cells of a .toml file")
        study = Study(folder, identity | {"tune": tune}, device)
        return tune_cells(study.run, tuning_cells(**settings), tune, study.finished)
    with locked(folder, "computes an experiment there"):
        study = Study(folder, identity, device, computing)
        log(f"{chosen.name}, preset {preset}, in {folder}")
        if dry_run:
            return _rehearsed(chosen, settings, study, preset)
        started, begun = time.monotonic(), study.clock()
        try:
            report: Report = chosen.run(study, **settings)
        except KeyboardInterrupt as error:
            raise Interrupted("the same command") from error
        if not isinstance(report, Report):
            raise ValueError(
                f"{chosen.file}: run must return a ppl_vae.studies.report.Report, got {type(report).__name__}"
            )
        if preset == "smoke":
            report = replace(report, notes=(*report.notes, SMOKE))
        given = "" if seeds is None else f" --seeds {seeds}"
        study.finish(report, f"ppl-vae experiment {name} --preset {preset}{given} --device {device}")
        if study.took:
            inside = sum(study.took.values()) if study.engine.alone else 0.0
            add_up(study.run, study.took, study.clock() - begun - inside)
        log(f"{time.monotonic() - started:.0f} s; table, values and figures are in {folder}")
        return report


def _rehearsed(chosen: Experiment, settings: dict[str, Any], study: Study, preset: str) -> Bill:
    """The bill of an experiment, which is stored in its folder."""
    with tempfile.TemporaryDirectory() as name, collecting():
        begun = study.clock()
        rehearsal = Rehearsal(Path(name), study.device.type, lambda cell: study.stored(cell) is not None)
        try:
            chosen.run(rehearsal, **settings)
        except Exception as error:
            if not rehearsal.cells and not rehearsal.known:
                raise
            rehearsal.notes[
                f"not in it is what follows the cells, which cannot be rehearsed: {error_in_words(error)}"
            ] = None
        measured = study.clock() - begun
    rest, notes = measured - rehearsal.inside, tuple(rehearsal.notes)
    bill = Bill(f"{chosen.name}, preset {preset}", rehearsal.cells, rest, measured, rehearsal.known, notes)
    study.run.write_json("bill.json", bill.to_json())
    return bill

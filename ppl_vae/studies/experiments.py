"""Experiments by name, and how one is run."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloudpickle import register_pickle_by_value
from rich.console import Console
from rich.table import Table

from ppl_vae.plugins.discovery import load_file
from ppl_vae.studies.report import Report
from ppl_vae.studies.study import Study
from ppl_vae.studies.sweep import Sweep
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import Interrupted

__all__ = ["Experiment", "Experiments", "find_experiment", "run_experiment"]

KINDS = (".py", ".toml")

SMOKE = "preset smoke cuts its trainings short: what it says of trained pairs is no finding; take --preset cpu"


@dataclass(frozen=True)
class Experiment:
    """A file that reproduces a table or figure.

    A module defines ``PRESETS``, settings by the name of the preset, and ``run(study, **settings)``, which gives a
    :class:`~ppl_vae.studies.report.Report`; another file is a :class:`~ppl_vae.studies.sweep.Sweep`.

    Arguments:
        name: Of the file.
        file: Where it is.
        shipped: Whether it came with the package.
        summary: A sentence.
        presets: Settings by name.
        run: From a study and settings to a report.
        sweep: What the file describes, if it is a sweep.
    """

    name: str
    file: Path
    shipped: bool
    summary: str
    presets: dict[str, dict[str, Any]]
    run: Callable[..., Report]
    sweep: Sweep | None = None


@dataclass(frozen=True)
class Experiments:
    """All shipped experiments, with a line each."""

    lines: dict[str, str]

    @classmethod
    def take(cls) -> Experiments:
        return cls({name: find_experiment(name).summary for name in sorted(_shipped())})

    def to_json(self) -> dict[str, str]:
        return self.lines

    def __str__(self) -> str:
        table = Table(title="ppl-vae experiment NAME", title_justify="left", box=None, padding=(0, 2))
        for column in ("name", "what it shows"):
            table.add_column(column, overflow="fold")
        for row in self.lines.items():
            table.add_row(*row)
        console = Console()
        with console.capture() as captured:
            console.print(table)
        return captured.get().rstrip()


def _shipped() -> dict[str, Path]:
    package = importlib.import_module("ppl_vae.experiments")
    assert package.__file__ is not None
    files = sorted(Path(package.__file__).parent.iterdir())
    return {p.stem: p for p in files if p.suffix in KINDS and p.stem != "__init__"}


def find_experiment(name: str) -> Experiment:
    """An experiment by name (``gmm``) or by the path of a file of one's own.

    Raises:
        ValueError: If there is none, listing the choices; or if a file is none.
    """
    path, shipped = Path(name), _shipped()
    is_shipped = path.stem in shipped and path.suffix in ("", *KINDS) and path.parent.name in ("", "experiments")
    own = path.suffix in KINDS and path.is_file() and not (is_shipped and path.samefile(shipped[path.stem]))
    if not own and not is_shipped:
        raise ValueError(
            f"there is no experiment {name!r}; choose from {', '.join(sorted(shipped))}, or give the path of a .py "
            "file, or of a .toml file that describes a sweep"
        )
    file = path if own else shipped[path.stem]
    if file.suffix == ".toml":
        sweep = Sweep.read(file)
        seeds = {name: {"seeds": preset.seeds} for name, preset in sweep.presets.items()}
        return Experiment(file.stem, file, not own, sweep.about, seeds, sweep.run, sweep)
    module = load_file(file) if own else importlib.import_module(f"ppl_vae.experiments.{file.stem}")
    missing = [part for part in ("PRESETS", "run") if not hasattr(module, part)]
    if not missing and not isinstance(module.PRESETS, dict):
        raise ValueError(f"{file}: PRESETS must be a dictionary of settings by preset, got {module.PRESETS!r}")
    if missing:
        raise ValueError(
            f"{file} is no experiment: it lacks {' and '.join(missing)}; see the docstring of experiments/gmm.py"
        )
    if own:
        register_pickle_by_value(module)  # other processes cannot import it by name
    summary = " ".join((inspect.getdoc(module) or "").split("\n\n")[0].split())
    return Experiment(file.stem, file, not own, summary, module.PRESETS, module.run)


def run_experiment(name: str, preset: str, out: Path | None, seeds: int | None, device: str, jobs: int = 1) -> Report:
    """Runs an experiment, or takes it up where it was left, and writes its report.

    Arguments:
        name: Of the experiment, or its file.
        preset: One of its presets.
        out: Its folder; by default ``runs/NAME-PRESET``.
        seeds: Instead of the preset's.
        device: Where to compute.
        jobs: How many cells are computed at once, where the experiment has cells that do not wait for each other.

    Raises:
        ValueError: If there is no such experiment or preset, or the folder holds something else.
    """
    found = find_experiment(name)
    if preset not in found.presets:
        raise ValueError(f"experiment {found.name} has no preset {preset!r}; choose from {', '.join(found.presets)}")
    settings = dict(found.presets[preset])
    if seeds is not None and "seeds" not in settings:
        raise ValueError(f"experiment {found.name} draws nothing, so it takes no --seeds")
    settings |= {} if seeds is None else {"seeds": seeds}
    folder = out or Path("runs") / f"{found.name}-{preset}"
    what: dict[str, Any] = {"experiment": found.name, "preset": preset, "device": device}
    if found.sweep is None:
        # More seeds go on from those there are; what another version of the experiment kept is not its own.
        kept = {k: v for k, v in settings.items() if k != "seeds"}
        what |= {"settings": kept, "source": hashlib.sha256(found.file.read_bytes()).hexdigest()[:16]}
    else:
        # A sweep checks each of its cells before anything is written, and may be given more of them.
        cells = replace(found.sweep.presets[preset], seeds=settings["seeds"])
        settings = {"preset": cells, "configs": found.sweep.configs(cells, device)}
    study = Study(folder, what, device, jobs)
    log(f"{found.name}, preset {preset}, in {folder}")
    begun = time.monotonic()
    try:
        report: Report = found.run(study, **settings)
    except KeyboardInterrupt as error:
        raise Interrupted("the same command") from error
    if not isinstance(report, Report):
        raise ValueError(f"{found.file}: run must return a ppl_vae.studies.report.Report, got {type(report).__name__}")
    if preset == "smoke":
        report = replace(report, notes=(*report.notes, SMOKE))
    study.finish(report)
    log(f"{time.monotonic() - begun:.0f} s; table, values and figures are in {folder}")
    return report

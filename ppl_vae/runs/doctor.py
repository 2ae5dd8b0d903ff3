"""What this installation has: versions, devices, threads, folders and extras, with what to do where one falls short."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from ppl_vae.evidence.tables import html_table, text_table
from ppl_vae.plugins.extras import install

__all__ = ["Diagnosis", "Row", "doctor"]

State = Literal["ok", "note", "fault"]

EXTRAS = {
    "search": "faster neighbours in search and retrieval",
    "fid": "frechet --features inception",
    "h5ad": "AnnData's .h5ad files as data",
    "parquet": "Parquet tables as data",
    "tune": "experiment --tune",
    "dask": "experiment --engine dask",
    "ray": "experiment --engine ray",
    "tensorboard": "train --loggers tensorboard",
}
"""What each extra adds; extras of developers are left out."""

GIB = 2**30
LEAST_FREE = GIB
"""Free space in bytes below which a disk is noted."""

COLUMNS = ("", "state", "found", "what to do")


@dataclass(frozen=True)
class Row:
    """One thing that was looked at.

    Arguments:
        name: What it is.
        state: ``"ok"``; ``"note"``, if something optional is missing; or ``"fault"``, if commands fail by it.
        found: What was found.
        remedy: What to do, empty if nothing.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The state of this installation.

    Arguments:
        rows: What was looked at.
    """

    rows: tuple[Row, ...]

    @property
    def faults(self) -> tuple[Row, ...]:
        """The rows by which commands fail."""
        return tuple(row for row in self.rows if row.state == "fault")

    def to_json(self) -> dict[str, Any]:
        return {"faults": len(self.faults), "rows": [asdict(row) for row in self.rows]}

    def _cells(self) -> list[tuple[str, str, str, str]]:
        return [(row.name, row.state, row.found, row.remedy) for row in self.rows]

    def _title(self) -> str:
        count = len(self.faults)
        return f"ppl-vae {_version('ppl-vae')}: " + (f"{count} fault{'s' * (count > 1)}" if count else "ready")

    def __str__(self) -> str:
        return text_table(self._title(), COLUMNS, self._cells(), left=COLUMNS, boxed=False, beneath=True)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self._title(), COLUMNS, self._cells())


def doctor() -> Diagnosis:
    """Look at this installation: versions, devices, threads, folders, and extras that are missing.

    Returns a row for each thing looked at: ok, note (something optional is missing), or fault (commands fail by it),
    with what to do. Nothing is changed; a file is written into each folder and removed again.
    """
    return Diagnosis(tuple(row for look in LOOKS for row in look()))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _system() -> Iterator[Row]:
    yield Row("Python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _packages() -> Iterator[Row]:
    from packaging.requirements import Requirement

    requirements = [Requirement(text) for text in metadata.requires("ppl-vae") or ()]
    found = dict[str, str]()
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            version = _version(requirement.name)
            if version and requirement.specifier.contains(version, prereleases=True):
                found[requirement.name] = version
            else:
                need = f"pip install '{requirement.name}{requirement.specifier}'"
                yield Row(requirement.name, "fault", version or "not installed", need)
    shown = [f"{name} {found[name]}" for name in ("torch", "pyro-ppl", "numpy", "scipy") if name in found]
    yield Row("packages", "ok", f"{', '.join(shown)} and {len(found) - len(shown)} more, in the versions needed")
    for extra, purpose in EXTRAS.items():
        wanted = [each for each in requirements if each.marker and each.marker.evaluate({"extra": extra})]
        missing = [each.name for each in wanted if not _version(each.name)]
        if missing:
            yield Row(
                f"extra {extra}",
                "note",
                f"without {', '.join(missing)}",
                f"{install(extra)} for {purpose}",
            )
        else:
            yield Row(f"extra {extra}", "ok", ", ".join(f"{each.name} {_version(each.name)}" for each in wanted))


def _devices() -> Iterator[Row]:
    try:
        import torch
    except (ImportError, OSError) as error:  # absent, or a library that it loads is
        remedy = "install it as https://pytorch.org/get-started describes"
        yield Row("devices", "fault", f"torch cannot be imported ({error})", remedy)
        return
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if names:
        memory = torch.cuda.get_device_properties(0).total_memory / GIB
        yield Row("devices", "ok", f"cpu, cuda ({', '.join(names)}; {memory:.0f} GiB)")
    elif torch.version.cuda:
        yield Row("devices", "note", f"cpu; torch is built for CUDA {torch.version.cuda}, but finds no GPU")
    else:
        yield Row("devices", "ok", "cpu; this torch is built without CUDA")
    cores, threads = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        torch.get_num_threads(),
    )
    text = f"{threads} of torch on {cores} cores"
    if cores is not None and threads > cores:
        yield Row(
            "threads", "note", text, f"export OMP_NUM_THREADS={cores}: more threads than cores slow each other down"
        )
    else:
        yield Row("threads", "ok", text)


def _folders() -> Iterator[Row]:
    import platformdirs

    places = {
        "working folder": (Path.cwd(), "runs are written below it: give --out a folder that can be written"),
        "trusted code": (
            platformdirs.user_state_path("ppl-vae"),
            "set XDG_STATE_HOME to a folder that can be written; until then code is trusted for one command only",
        ),
        "temporary files": (Path(tempfile.gettempdir()), "set TMPDIR to a folder that can be written"),
    }
    with contextlib.suppress(ImportError):  # of torch, which is a row of its own
        from ppl_vae.data.download import data_folder

        places["data sets"] = (data_folder(), "set PPL_VAE_DATA to a folder that can be written")
    for name, (folder, remedy) in places.items():
        above = next(each for each in (folder, *folder.parents) if each.exists())
        try:
            with tempfile.TemporaryFile(dir=above):
                free = shutil.disk_usage(above).free
        except OSError as error:
            state: State = "note" if name == "trusted code" else "fault"
            yield Row(name, state, f"{folder} cannot be written ({error.strerror})", remedy)
            continue
        found = f"{folder}, {free / GIB:,.1f} GiB free"
        yield Row(name, "ok", found) if free >= LEAST_FREE else Row(name, "note", found, "make room there")


def _output() -> Iterator[Row]:
    size = shutil.get_terminal_size()
    encoding = getattr(sys.stdout, "encoding", None) or "unknown"
    terminal = f"{size.columns} x {size.lines}, {encoding}"
    yield (
        Row("terminal", "ok", terminal)
        if sys.stdout.isatty()
        else Row("terminal", "ok", f"none: output is piped, {encoding}")
    )
    try:
        from matplotlib.figure import Figure

        with tempfile.TemporaryFile() as file:
            Figure().savefig(file, format="png")
        yield Row("figures", "ok", f"matplotlib {_version('matplotlib')} draws")
    except Exception as error:  # whatever a broken backend raises
        yield Row(
            "figures",
            "note",
            f"not drawn ({type(error).__name__}: {error})",
            "tables and JSON are written all the same",
        )


LOOKS: tuple[Callable[[], Iterator[Row]], ...] = (_system, _packages, _devices, _folders, _output)
"""What is looked at, in order."""

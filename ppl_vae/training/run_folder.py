"""The folder one training leaves behind: configuration, metrics, checkpoints, summary, figures."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ppl_vae.data.files import NotWrittenError, atomic_write, remove_strays
from ppl_vae.data.json_file import json_of
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.plugins.nearest import NotFoundError
from ppl_vae.training.lock import place_of
from ppl_vae.training.progress import log

__all__ = ["GoneError", "Interrupted", "RunFolder", "json_bytes", "seal"]

MARKS = ("config.json", "experiment.json")
"""Files of which a folder of results has one."""

WRITTEN = ("README.md", "summary.json", "pointwise.safetensors", "train-metrics.jsonl", "train.csv", "retrain.csv")
"""Files of a run that may be somebody's in a folder that is none."""

RESOLUTION = 160
"""Dots per inch of figures."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a request to terminate; its message is the command that resumes."""


class GoneError(NotWrittenError):
    """A run folder was moved or removed while it was written into.

    Arguments:
        path: Path of the folder.
        reason: What happened to it.
    """

    def __str__(self) -> str:
        return f"{self.path} {self.reason} while ppl-vae worked in it; what was not saved by then is lost"


class RunFolder:
    """A run folder.

    Arguments:
        folder: Path of the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._identity: bytes | None = None

    @staticmethod
    def check_free(folder: Path) -> None:
        """Refuses a folder that cannot become a new run.

        Raises:
            ValueError: If it holds a run already, or a file that the run would overwrite; or if it is no folder.
        """
        if (folder / "config.json").exists():
            raise ValueError(
                f"{folder} holds a run already; continue it with --resume {folder} (in Python pv.resume), or choose "
                "another --out (out=)"
            )
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file, not a folder; choose another --out")
        if taken := next((name for name in WRITTEN if (folder / name).exists()), None):
            raise ValueError(f"{folder} holds {taken}, which a run would overwrite; choose another --out (out=)")

    @classmethod
    def create(cls, folder: Path, config: dict[str, Any]) -> RunFolder:
        """Makes a new folder with its configuration and the versions of its packages.

        Raises:
            ValueError: If the folder holds a run already.
        """
        cls.check_free(folder)
        run = cls(folder)
        run.write_json("config.json", config | {"versions": versions()})
        run.watch()
        return run

    @classmethod
    def open(cls, folder: Path) -> RunFolder:
        """An existing run.

        Raises:
            ValueError: If the folder is not one.
        """
        run = cls(folder)
        if not (folder / "config.json").is_file():
            raise NotFoundError(f"{folder} is not a run folder: it has no config.json; give a folder that --out named")
        run.config  # noqa: B018  (a damaged file is reported before anything else happens)
        remove_strays(folder)
        run.watch()
        return run

    def watch(self) -> None:
        """From now on, nothing is written if the folder is gone or another one is in its place."""
        self._identity = self._mark()

    def _mark(self) -> bytes | None:
        """What tells the folder from others; inode numbers do not last on every file system."""
        for name in MARKS:
            with contextlib.suppress(OSError):
                return (self.folder / name).read_bytes()
        return None

    def check_present(self) -> None:
        """Refuses to write into a folder that is no longer the one that was opened.

        Raises:
            GoneError: If it was moved or removed, saying where it is if that is known, or a training has changed it.
        """
        if self._identity is not None and (mark := self._mark()) != self._identity:
            place = place_of(self.folder)
            if place is not None and place != self.folder.absolute():
                raise GoneError(self.folder, f"was moved to {place}")
            raise GoneError(self.folder, "was moved or removed" if mark is None else "got another configuration")

    def write(self, name: str, *content: bytes | memoryview) -> None:
        """Writes a file of the folder atomically.

        Raises:
            GoneError: If the folder was moved or removed.
            NotWrittenError: If the file cannot be written.
        """
        self.check_present()
        atomic_write(self.folder / name, *content)

    def write_tensors(self, name: str, content: Checkpoint) -> None:
        """Writes ``NAME.safetensors``."""
        self.write(f"{name}.safetensors", *content.content())

    def check_pair(self, remedy: str) -> None:
        """Refuses the training of a generator where a pair is needed.

        Raises:
            ValueError: If it is one, with the remedy.
        """
        if "model" not in self.config and "generator" in self.config:
            raise ValueError(f"{self.folder} holds no pair, but the training of a generator; {remedy}")

    @property
    def config(self) -> dict[str, Any]:
        return self.read_json("config.json")

    @property
    def summary(self) -> dict[str, Any] | None:
        """Results of a finished training; None before its end.

        Raises:
            ValueError: If they are not those that were written with the values per datum.
        """
        path = self.folder / "summary.json"
        if not path.exists():
            return None
        content, values = self.read_json("summary.json"), self.folder / "pointwise.safetensors"
        known = Checkpoint.read(values).state.get("json") if values.exists() else None
        if known not in (None, seal(path.read_bytes())):
            raise ValueError(f"{path} has changed since the training wrote it; restore it, or start a new run")
        return content

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object of the folder.

        Raises:
            ValueError: If it is missing or damaged, naming it.
        """
        try:
            written = (self.folder / name).read_bytes()
        except OSError as error:
            raise ValueError(f"{self.folder / name} cannot be read: {error}; restore it, or start a new run") from error
        remedy = "restore it, or start a new run"
        content: object = json_of(str(self.folder / name), written, remedy)
        if not isinstance(content, dict):
            raise ValueError(f"{self.folder / name} must hold a JSON object, got {type(content).__name__}; {remedy}")
        return content

    def write_json(self, name: str, content: object) -> None:
        self.write(name, json_bytes(content))

    def checkpoint(self, name: str) -> Path:
        return self.folder / "checkpoints" / f"{name}.safetensors"

    def best_state(self) -> tuple[str, str]:
        """Name and digest of the checkpoint that is measured; measurements are stored under the digest.

        Raises:
            ValueError: If there is none yet.
        """
        again = self.summary is not None and self.checkpoint("retrain-best").exists()
        name = "retrain-best" if again else "train-best"
        if not self.checkpoint(name).exists():
            raise ValueError(
                f"{self.folder} has no trained state yet; finish it with ppl-vae train --resume {self.folder}"
            )
        with open(self.checkpoint(name), "rb") as file:
            return name, hashlib.file_digest(file, "sha256").hexdigest()

    def metrics(self, name: str = "metrics", epochs: int | None = None) -> list[dict[str, Any]]:
        """Metrics of each epoch so far, or of the first epochs; a last line cut short by a crash is left out.

        Raises:
            ValueError: If there are fewer, or a line is damaged, naming it.
        """
        path = self.folder / f"{name}.jsonl"
        remedy = "restore it, or delete the checkpoints to train again"
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        rows: list[dict[str, Any]] = []
        for number, line in enumerate(lines, start=1):
            if number == len(lines) and not line.endswith(b"}"):
                break
            row = json_of(f"{path}, line {number}", line, remedy, infinite=True)
            known = isinstance(row, dict) and all(v is None or isinstance(v, (int, float, str)) for v in row.values())
            if not known or row.get("epoch") != number or isinstance(row["epoch"], bool):
                raise ValueError(f"{path}, line {number}: the metrics of epoch {number} are expected; {remedy}")
            rows.append(row)
        if len(rows) < (epochs or 0):
            raise ValueError(f"{path} has {len(rows)} of {epochs} epochs; {remedy}")
        return rows[:epochs]

    def write_metrics(self, rows: list[dict[str, Any]], name: str = "metrics") -> None:
        self.write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())

    def figure(
        self, name: str, draw: Callable[[Any], None], size: tuple[float, float], kinds: tuple[str, ...] = ("png",)
    ) -> None:
        """Draws a figure into the folder, leaving the user's matplotlib alone.

        Results do not depend on it: where it cannot be drawn, a note says why.
        """
        try:
            files = _drawn(draw, size, kinds)
            for kind, content in files.items():
                self.write(f"figures/{name}.{kind}", content)
        except GoneError:
            raise
        except Exception as error:  # of matplotlib, of its backend, or of the disk
            _report_missing(name, error)


def json_bytes(content: object) -> bytes:
    """The content of a JSON file."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def seal(content: bytes) -> str:
    """Digest of a JSON file, by which the tensors beside it know it."""
    return hashlib.sha256(content).hexdigest()


def _report_missing(figure: str, error: Exception) -> None:
    log(f"note: the figure {figure} is missing ({type(error).__name__}: {error}); the results are stored without it")


def _drawn(draw: Callable[[Any], None], size: tuple[float, float], kinds: tuple[str, ...]) -> dict[str, bytes]:
    """The content of a figure's files by kind."""
    from ppl_vae.evidence.plot import plot

    figure = plot(draw, size)
    # Stronger compression takes as long as the drawing.
    options: dict[str, dict[str, Any]] = {"png": {"pil_kwargs": {"compress_level": 1}}}
    files = {}
    for kind in kinds:
        files[kind] = figure.image(kind, RESOLUTION, **options.get(kind, {}))
        figure.set_layout_engine("none")  # found once, for all kinds
    return files


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result may depend on."""
    result = {"python": platform.python_version()}
    for package in ("ppl-vae", "torch", "pyro-ppl", "numpy", "scipy", "zuko"):
        try:
            result[package] = version(package)
        except PackageNotFoundError:
            result[package] = "not installed"
    return result

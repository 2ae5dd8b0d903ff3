"""The runs in a folder, with what each was trained on and what it reached."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ppl_vae.evidence.bounds import SIGNS, Bound
from ppl_vae.evidence.tables import text_table
from ppl_vae.training.run_folder import RunFolder

__all__ = ["ListedRun", "Runs", "list_runs"]

DEPTH = 3
"""How many folders deep runs are looked for: those of experiments lie in ``EXPERIMENT/runs/NAME``."""

Sorting = Literal["date", "name", "elbo", "evidence"]


@dataclass(frozen=True)
class ListedRun:
    """A run in a list.

    Arguments:
        folder: Its folder.
        model: Name of the model, with its options.
        guide: Name of the guide, with its options.
        corpus: The data.
        seed: The seed.
        epochs: Epochs trained; None if the training is not finished.
        elbo: Mean ELBO of the test data, or of the last split there is, in nats per datum; None if not finished.
        evidence: Likewise.
        bound: In which direction the evidence may be off, such as exact or lower.
        finished: When its final table was written, as seconds since 1970; else when the run began.
    """

    folder: str
    model: str
    guide: str
    corpus: str
    seed: int
    epochs: int | None
    elbo: float | None
    evidence: float | None
    bound: Bound | None
    finished: float

    @classmethod
    def of(cls, run: RunFolder) -> ListedRun:
        """The entry of a run.

        Raises:
            ValueError: If its files are damaged, naming one.
        """
        config, summary = run.config, run.summary
        try:
            split = {} if summary is None else list(summary["splits"].values())[-1]
            written = run.folder / ("config.json" if summary is None else "summary.json")
            return cls(
                str(run.folder),
                _named(config["model"]),
                _named(config["guide"]),
                corpus=Path(config["corpus"]["name"]).name,
                seed=config["settings"]["seed"],
                epochs=None if summary is None else summary["epochs"],
                elbo=split["elbo"]["mean"] if split else None,
                evidence=split["evidence"]["mean"] if split else None,
                bound=split["evidence"]["bound"] if split else None,
                finished=written.stat().st_mtime,
            )
        except (KeyError, TypeError, AttributeError, IndexError, OSError) as error:
            raise ValueError(f"{run.folder} cannot be read ({type(error).__name__}: {error})") from error

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        sign = SIGNS["exact" if self.bound is None else self.bound]
        gap = None if self.elbo is None or self.evidence is None else self.evidence - self.elbo
        return (
            self.folder,
            f"{self.model} with {self.guide}",
            self.corpus,
            str(self.seed),
            "unfinished" if self.epochs is None else str(self.epochs),
            "" if self.elbo is None else f"{self.elbo:.2f}",
            "" if self.evidence is None else f"{sign}{self.evidence:.2f}",
            "" if gap is None else f"{sign}{gap:.2f}",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(self.finished)),
        )


@dataclass(frozen=True)
class Runs:
    """Runs in a folder.

    Arguments:
        folder: Where they were looked for.
        entries: The runs.
        broken: Folders whose files are damaged, with the reason.
    """

    folder: str
    entries: tuple[ListedRun, ...]
    broken: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"folder": self.folder, "runs": [asdict(entry) for entry in self.entries], "broken": list(self.broken)}

    def __str__(self) -> str:
        lines = [f"broken: {reason}" for reason in self.broken]
        if not self.entries:
            return "\n".join([f"no runs in {self.folder}; ppl-vae train makes one", *lines])
        columns = ("run", "pair", "data", "seed", "epochs", "ELBO", "evidence", "gap", "date")
        table = text_table(
            f"{len(self.entries)} run{'s' if len(self.entries) != 1 else ''} in {self.folder}: nats per test datum",
            columns,
            [entry.cells() for entry in self.entries],
            left=("run", "pair", "data", "date"),
            boxed=False,
        )
        return "\n".join([table, *lines])

    __repr__ = __str__


def list_runs(
    folder: str | Path = "runs", *, model: str = "", guide: str = "", corpus: str = "", sort: Sorting = "date"
) -> Runs:
    """List the runs in a folder with their ELBO, evidence and gap.

    ELBO and evidence are those of the final table, of the test data. Runs of experiments are listed, too.

    Arguments:
        folder: Where to look.
        model: Only runs whose model contains this text.
        guide: Only runs whose guide contains this text.
        corpus: Only runs whose data contain this text.
        sort: Order: the newest, the first name, the largest ELBO or the largest evidence first.

    Raises:
        ValueError: If there is no such folder.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"there is no folder {folder}; give the folder that holds the runs (--folder)")
    found, broken = list[ListedRun](), list[str]()
    for place in _folders(Path(folder), DEPTH):
        run = RunFolder(place)
        try:
            if "model" in run.config:
                found.append(ListedRun.of(run))
        except ValueError as error:
            broken.append(str(error))
    wanted = [e for e in found if model in e.model and guide in e.guide and corpus in e.corpus]
    keys = {
        "date": lambda entry: -entry.finished,
        "name": lambda entry: entry.folder,
        "elbo": lambda entry: -(entry.elbo if entry.elbo is not None else float("-inf")),
        "evidence": lambda entry: -(entry.evidence if entry.evidence is not None else float("-inf")),
    }
    if sort not in keys:
        raise ValueError(f"unknown order {sort!r}; choose from {', '.join(keys)}")
    return Runs(str(folder), tuple(sorted(wanted, key=keys[sort])), tuple(broken))


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """Folders with a configuration; what lies within one, such as the guides of a ladder, is its own affair."""
    if (folder / "config.json").is_file():
        yield folder
    elif depth:
        for child in sorted(child for child in folder.iterdir() if child.is_dir() and not child.is_symlink()):
            yield from _folders(child, depth - 1)


def _named(choice: dict[str, Any]) -> str:
    """The name of a model or guide, with the options that are not empty."""
    name = Path(choice["name"]).stem if ".py" in choice["name"] else choice["name"]
    options = ", ".join(f"{option}={value}" for option, value in choice["options"].items())
    return f"{name} ({options})" if options else name

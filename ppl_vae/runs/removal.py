"""Removing runs: only folders that are runs for certain, and hold what a run writes and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from ppl_vae.data.files import PREFIX
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.model_card import CARD
from ppl_vae.runs.train_gan import GeneratorConfig
from ppl_vae.training.lock import LOCK, locked
from ppl_vae.training.run_folder import RunFolder

__all__ = ["check_removable", "remove_runs"]

FOLDERS = ("checkpoints", "code", "figures", "ladder", "partial", "tensorboard")
"""Folders in a run."""

FILES = (
    *("*.json", "*.jsonl", "*.safetensors", "report*.html", "compare-*.html", "train.csv", "retrain.csv", CARD),
    *("codes*.npz", "arviz-*.nc", "figures/*.png", "figures/*.pdf", "tensorboard/*/events.out.tfevents*"),
    *(LOCK, f"*{LOCK}", f"{PREFIX}*"),
)
"""Files that a run writes; the copies of the user's in ``code/`` are Python files. Tables, arrays and pictures of other
names are the user's: a run may lie in the folder of its data."""


def remove_runs(*folders: str | Path) -> None:
    """Removes run folders, with all that is in them; nothing is removed if one of them must not be.

    Arguments:
        folders: The folders.

    Raises:
        ValueError: If a folder is no run or a link, holds files that no run writes, or a process works in it; or if it
            cannot be removed, saying why.
    """
    paths = [Path(folder) for folder in folders]
    for path in paths:
        check_removable(path)
    places = sorted({path.resolve() for path in paths})
    outer = [place for place in places if not set(place.parents) & set(places)]
    with ExitStack() as locks:
        for place in outer:
            locks.enter_context(locked(place, "removes it"))
        for place in outer:
            check_removable(place)  # nothing has come since
        for place in outer:
            try:
                shutil.rmtree(place)
            except OSError as error:
                raise ValueError(
                    f"{place} is not removed, or not all of it: {error}; remove what is left yourself"
                ) from error


def check_removable(folder: Path) -> None:
    """Refuses to remove what is no run, or holds more than a run.

    Raises:
        ValueError: If the configuration is not that of a run, naming what is wrong; if the folder is a link; or if it
            holds a file that no run writes, naming it.
    """
    if folder.is_symlink():
        raise ValueError(
            f"{folder} is a link to {folder.readlink()}; give that folder to remove the run, or remove the link"
        )
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is not a run folder: it has no config.json; give a folder that --out named")
    run = RunFolder(folder)
    try:
        (GeneratorConfig if "generator" in run.config else RunConfig).of(run)
    except ValueError as error:
        reason = str(error).partition("; restore")[0]
        raise ValueError(f"{folder} is not removed: it is no run, or a damaged one ({reason})") from error
    if (other := next(_others(folder), None)) is not None:
        raise ValueError(
            f"{folder} is not removed: it holds {other.relative_to(folder)}, which no run writes; move that away, or "
            "remove the folder yourself"
        )


def _others(folder: Path) -> Iterator[Path]:
    """What lies in a folder and is no run's."""
    for path in sorted(folder.rglob("*")):
        first = path.relative_to(folder).parts[0]
        if path.is_symlink():
            yield path
        elif path.parent == folder and path.is_dir():
            if first not in FOLDERS and not first.startswith(PREFIX):
                yield path
        elif path.is_file() and not first.startswith(PREFIX):
            inner = path.relative_to(folder)
            if not (any(map(inner.match, FILES)) or (inner.suffix == ".py" and "code" in inner.parts)):
                yield path

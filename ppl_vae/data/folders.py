"""Files of a folder, their splits and classes read off the folders they lie in, and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ppl_vae.data.source import SplitName
from ppl_vae.data.text_file import shown, unquoted

__all__ = ["IMAGES", "Sorted", "files_in", "left_out", "sort_files", "split_named"]

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
"""Endings of files of images."""

_SPLITS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "development", "eval"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
"""What sources call their splits, in lower case."""

_ABOUT = ("readme", "licence", "license", "notes", "about", "changelog", "vocab", "vocabulary")
"""Names of files that are about data."""

_FEW = 20
"""A file in so many may lie outside the splits or the classes."""


def split_named(name: str) -> SplitName | None:
    """The split that a folder, a file or a cell of a column names; None if it names none.

    Example:
        >>> split_named("Training"), split_named("dev"), split_named("sport")
        ('train', 'validation', None)
    """
    return _SPLITS.get(name.strip().lower())


def files_in(folder: Path) -> list[Path]:
    """All files of a folder and its sub-folders, sorted; ``.*`` and ``__MACOSX`` are passed over.

    Editors and notebooks keep copies under such names.
    """
    files: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        files += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(files)


def left_out(folder: Path, taken: int, others: Sequence[Path], what: str) -> tuple[str, ...]:
    """A note on the files of a folder that are not read.

    Arguments:
        folder: The folder.
        taken: Number of files that are read.
        others: The others.
        what: What is read, in the plural.

    Raises:
        ValueError: If they are more than twice as many as those that are read.
    """
    if not others:
        return ()
    kinds = Counter(path.suffix.lower() or "no ending" for path in others)
    listed = ", ".join(f"{count} with {unquoted(kind, 20)}" for kind, count in kinds.most_common(4))
    if len(others) > 2 * taken:
        raise ValueError(
            f"{folder} has {taken} {what} among {len(others)} other files ({listed}), so that most of it would be left "
            f"out; give a folder of {what} alone, or bring the others to a form that is read"
        )
    return (f"{len(others)} files of {folder} are no {what} and are not read: {listed}",)


@dataclass(frozen=True)
class Sorted:
    """The files of a corpus.

    Arguments:
        paths: The files that are read.
        splits: The split of each.
        labels: The class of each; None where no file has one.
        notes: Lines for the user.
    """

    paths: list[Path]
    splits: list[SplitName]
    labels: list[str] | None
    notes: tuple[str, ...] = ()


def sort_files(folder: Path, paths: list[Path]) -> Sorted:
    """Finds the split and the class of each file.

    Sub-folders are splits if one is called ``train`` (or ``Training``, ...): ``test``, ``val`` and the like go with it.
    The first folder on the way to a file, within these or without them, is its class. A file in twenty may lie outside
    the splits or classes of the others: it is left out.

    Arguments:
        folder: Folder of the corpus.
        paths: Files within it.

    Raises:
        ValueError: If more files lie outside the splits, or have no class where others do.
    """
    inner = [path.relative_to(folder).parts for path in paths]
    tops = {parts[0] for parts in inner if len(parts) > 1}
    # A class may be called test or dev, but not beside a folder of training data.
    has_splits = any(split_named(top) == "train" or top in ("test", "validation") for top in tops)
    splits, labels, places = list[SplitName](), list[str | None](), list[Path]()
    strays: list[tuple[Path, str]] = []
    for path, parts in zip(paths, inner, strict=True):
        split: SplitName | None = split_named(parts[0]) if has_splits and len(parts) > 1 else "train"
        if split is None or (has_splits and len(parts) == 1):
            strays.append((path, f"lies outside the folders of the splits; {_remedy(folder, parts)}"))
            continue
        classes = parts[1:-1] if has_splits else parts[:-1]
        splits.append(split)
        labels.append(classes[0] if classes else None)
        places.append(path)
    if any(labels) and None in labels:
        for place in (place for place, label in enumerate(labels) if label is None):
            remedy = "take it out of the data" if _is_about(places[place]) else "move it into one"
            strays.append((places[place], f"lies in no class's folder but others do; {remedy}"))
        kept = [place for place, label in enumerate(labels) if label is not None]
        splits, labels, places = ([values[place] for place in kept] for values in (splits, labels, places))  # type: ignore[assignment]
    if len(strays) * _FEW > len(paths):
        raise ValueError(f"{strays[0][0]} {strays[0][1]}")
    notes: tuple[str, ...] = ()
    if strays:
        names = ", ".join(shown(path.name, 40) for path, _ in strays[:3]) + (", ..." if len(strays) > 3 else "")
        notes = (
            f"{len(strays)} of {len(paths)} files lie outside the folders of the others, and are not read: {names}",
        )
    return Sorted(places, splits, [label for label in labels if label] or None, notes)


def _is_about(path: Path) -> bool:
    return path.stem.lower() in _ABOUT


def _remedy(folder: Path, parts: tuple[str, ...]) -> str:
    """What to do about a file beside the folders of the splits."""
    return "take it out of the data" if _is_about(Path(parts[-1])) else f"move it into {folder / 'train'}"

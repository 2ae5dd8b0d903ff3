"""Splits and classes of files, read off the folders they lie in."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

from ppl_vae.data.source import SplitName

__all__ = ["splits_and_labels"]

_VALIDATION = ("val", "valid", "dev", "development", "eval")
"""Other names of a folder of validation data."""

_ABOUT = ("readme", "licence", "license", "notes", "about", "changelog")
"""Names of files that are about data."""


def splits_and_labels(folder: Path, paths: list[Path]) -> tuple[list[SplitName], list[str] | None]:
    """The split and the class of each file.

    Sub-folders ``train``, ``test`` and ``validation`` are splits; the first folder on the way to a file, within these
    or without them, is its class.

    Arguments:
        folder: Folder of the corpus.
        paths: Files within it.

    Returns:
        Splits, and classes; None where no file has one.

    Raises:
        ValueError: If a file lies outside the splits, or only some have a class.
    """
    inner = [path.relative_to(folder).parts for path in paths]
    names = get_args(SplitName)
    has_splits = any(parts[0] in names and len(parts) > 1 for parts in inner)
    splits, labels = [], []
    for path, parts in zip(paths, inner, strict=True):
        if has_splits and parts[0] not in names:
            raise ValueError(f"{path} lies outside the folders of the splits; {_remedy(folder, parts)}")
        splits.append(cast(SplitName, parts[0] if has_splits else "train"))
        classes = parts[1:-1] if has_splits else parts[:-1]
        labels.append(classes[0] if classes else None)
    if None in labels and any(labels):
        path = paths[labels.index(None)]
        remedy = "take it out of the data" if path.stem.lower() in _ABOUT else "move it into one"
        raise ValueError(f"{path} lies in no class's folder but others do; {remedy}")
    return splits, [label for label in labels if label] or None


def _remedy(folder: Path, parts: tuple[str, ...]) -> str:
    """What to do about a file beside the folders of the splits."""
    if len(parts) > 1 and parts[0].lower() in _VALIDATION and not (folder / "validation").exists():
        return f"if they are validation data, rename {folder / parts[0]} to validation"
    if Path(parts[-1]).stem.lower() in _ABOUT:
        return "take it out of the data"
    return f"move it into {folder / 'train'}"

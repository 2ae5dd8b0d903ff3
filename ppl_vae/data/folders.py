"""Splits and classes of files, read off the folders they lie in."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

from ppl_vae.data.source import SplitName

__all__ = ["splits_and_labels"]


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
            raise ValueError(f"{path} lies outside the folders of the splits; move it into {folder / 'train'}")
        splits.append(cast(SplitName, parts[0] if has_splits else "train"))
        classes = parts[1:-1] if has_splits else parts[:-1]
        labels.append(classes[0] if classes else None)
    if None in labels and any(labels):
        raise ValueError(f"{paths[labels.index(None)]} lies in no class's folder but others do; move it into one")
    return splits, [label for label in labels if label] or None

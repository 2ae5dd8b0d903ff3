"""A folder of plain texts: one document a file, one class a sub-folder."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import numpy as np

from ppl_vae.corpora.raw import Documents, Raw, SplitName
from ppl_vae.corpora.reading import TextFile
from ppl_vae.corpora.tokens import class_ids, count_words

__all__ = ["from_texts", "read_folder"]


def read_folder(folder: Path) -> Raw:
    """Reads the ``.txt`` files of a folder and its sub-folders.

    Sub-folders ``train``, ``test`` and ``validation`` are splits; within them, or within the folder itself if it has no
    such sub-folders, the first folder on the way to a file is its class. Files are named by their paths.

    Raises:
        ValueError: If there is no text, a text is not UTF-8, only some texts have a class or lie in a split, or there
            are other splits but none for training.
    """
    paths = sorted(path for path in folder.rglob("*.txt") if path.is_file())
    if not paths:
        raise ValueError(f"{folder} has no .txt files; give a folder of texts, one document a file")
    inner = [path.relative_to(folder).parts for path in paths]
    has_splits = any(parts[0] in get_args(SplitName) and len(parts) > 1 for parts in inner)
    splits, labels = [], []
    for path, parts in zip(paths, inner, strict=True):
        if has_splits and parts[0] not in get_args(SplitName):
            raise ValueError(f"{path} lies outside the folders of the splits; move it into {folder / 'train'}")
        splits.append(cast(SplitName, parts[0] if has_splits else "train"))
        classes = parts[1:-1] if has_splits else parts[:-1]
        labels.append(classes[0] if classes else None)
    if None in labels and any(labels):
        raise ValueError(f"{paths[labels.index(None)]} lies in no class's folder but others do; move it into one")
    titles = ["/".join(parts) for parts in inner]
    texts = [TextFile.open(path).text for path in paths]
    return from_texts(str(folder), texts, splits, [label for label in labels if label] or None, titles)


def from_texts(
    where: str, texts: list[str], splits: list[SplitName], labels: list[str] | None, titles: list[str] | None
) -> Raw:
    """Counts the words of texts and sorts the documents into their splits.

    Arguments:
        where: What errors call the source.
        texts: The documents.
        splits: The split of each document.
        labels: The label of each document, or ``None``.
        titles: The title of each document, or ``None``.

    Raises:
        ValueError: If no document is for training.
    """
    if "train" not in splits:
        raise ValueError(f"{where} has no documents for training, only for {', '.join(sorted(set(splits)))}; add train")
    counts, words = count_words(texts)
    ids, names = class_ids(labels) if labels is not None else (None, ())
    everything = Documents(counts, ids, None if titles is None else tuple(titles))
    members: dict[SplitName, list[int]] = {}
    for row, split in enumerate(splits):
        members.setdefault(split, []).append(row)
    return Raw({split: everything.take(np.array(rows)) for split, rows in members.items()}, words, names)

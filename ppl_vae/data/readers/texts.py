"""A folder of plain texts: one document a file, one class a sub-folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppl_vae.data.readers.folders import splits_and_labels
from ppl_vae.data.readers.text_file import TextFile
from ppl_vae.data.source import Source, SourceSplit, SplitName
from ppl_vae.data.tokens import class_ids, count_words

__all__ = ["from_texts", "read_folder"]


def read_folder(folder: Path) -> Source:
    """Reads the ``.txt`` files of a folder and its sub-folders.

    Sub-folders ``train``, ``test`` and ``validation`` are splits; within them, or within the folder itself if it has no
    such sub-folders, the first folder on the way to a file is its class. Files are named by their paths.

    Raises:
        ValueError: If there is no text, a text is not UTF-8, only some texts have a class or lie in a split, or there
            are other splits but none for training.
    """
    paths = sorted(path for path in folder.rglob("*.txt") if path.is_file())
    if not paths:
        raise ValueError(
            f"{folder} has no .txt files and no images; give a folder of texts, one document a file, or of images"
        )
    splits, labels = splits_and_labels(folder, paths)
    titles = ["/".join(path.relative_to(folder).parts) for path in paths]
    texts = [TextFile.open(path).text for path in paths]
    return from_texts(str(folder), texts, splits, labels, titles)


def from_texts(
    where: str, texts: list[str], splits: list[SplitName], labels: list[str] | None, titles: list[str] | None
) -> Source:
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
    everything = SourceSplit(counts, ids, None if titles is None else tuple(titles))
    members: dict[SplitName, list[int]] = {}
    for row, split in enumerate(splits):
        members.setdefault(split, []).append(row)
    return Source({split: everything.take(np.array(rows)) for split, rows in members.items()}, words, names)

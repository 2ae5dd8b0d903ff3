"""From texts to word counts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.source import Source, SourceSplit, SplitName

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["ASCII_WORD", "WORD", "class_ids", "count_words", "from_texts"]

WORD = re.compile(r"[^\W\d_]{2,}")
"""Two or more letters of any script."""

ASCII_WORD = re.compile(r"[a-z]{2,}")
"""Two or more letters a to z; an identifier falls apart at its underscores and digits."""


def count_words(texts: Iterable[str], pattern: re.Pattern[str] = WORD) -> tuple[csr_matrix, tuple[str, ...]]:
    """Counts the words of texts in lower case.

    Arguments:
        texts: The documents.
        pattern: What a word is.

    Returns:
        Counts, ``(documents, words)``, and the words, sorted.

    Example:
        >>> counts, words = count_words(["the log_prob of the site"])
        >>> words
        ('log', 'of', 'prob', 'site', 'the')
        >>> counts.toarray()
        array([[1, 1, 1, 1, 2]])
    """
    from scipy.sparse import csr_matrix

    ids: dict[str, int] = {}
    entries: list[NDArray[np.int64]] = []
    offsets = [0]
    for text in texts:
        words_of_text = [ids.setdefault(word, len(ids)) for word in pattern.findall(text.lower())]
        entries.append(np.array(words_of_text, dtype=np.int64))
        offsets.append(offsets[-1] + len(words_of_text))
    words = sorted(ids)
    rank = np.zeros(len(ids), dtype=np.int64)
    rank[[ids[word] for word in words]] = np.arange(len(ids))
    columns = rank[np.concatenate(entries)] if entries else rank[:0]
    counts = csr_matrix((np.ones(len(columns), dtype=np.int64), columns, offsets), shape=(len(entries), len(words)))
    counts.sum_duplicates()
    return counts, tuple(words)


def class_ids(labels: Iterable[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class ids of labels, and the label of each id, sorted.

    Example:
        >>> class_ids(["noun", "verb", "noun"])
        (array([0, 1, 0]), ('noun', 'verb'))
    """
    listed = list(labels)
    names = sorted(set(listed))
    position = {name: i for i, name in enumerate(names)}
    return np.array([position[label] for label in listed], dtype=np.int64), tuple(names)


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

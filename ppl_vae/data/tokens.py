"""From texts to word counts."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

__all__ = ["ASCII_WORD", "WORD", "class_ids", "count_words"]

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
    ids: dict[str, int] = {}
    entries: list[NDArray[np.int64]] = []
    offsets = [0]
    for text in texts:
        found = [ids.setdefault(word, len(ids)) for word in pattern.findall(text.lower())]
        entries.append(np.array(found, dtype=np.int64))
        offsets.append(offsets[-1] + len(found))
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

"""What every reader returns, whatever the format: counts or numbers as the source has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

__all__ = ["Arrays", "Documents", "Raw", "RawArrays", "SplitName", "made_up_words"]

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents of one split of a source.

    Arguments:
        counts: Word counts, ``(documents, words)``, over all words of the source.
        labels: Class ids, ``(documents,)``, int64, or ``None``.
        titles: A name for each document, or ``None``.
    """

    counts: csr_matrix
    labels: NDArray[np.int64] | None = None
    titles: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    def take(self, rows: NDArray[np.int64]) -> Documents:
        """The documents at the positions ``rows``, in that order."""
        return Documents(
            self.counts[rows],
            None if self.labels is None else self.labels[rows],
            None if self.titles is None else tuple(self.titles[row] for row in rows),
        )


@dataclass(frozen=True, eq=False)
class Raw:
    """A source of documents as it was read: nothing cut, dropped or held out yet.

    Arguments:
        splits: The source's own splits. ``"train"`` is always there; a source without splits has only that.
        words: The word of each column of the counts.
        label_names: The name of each class id; empty without labels.
        notes: Lines for the user.
    """

    splits: dict[SplitName, Documents]
    words: tuple[str, ...]
    label_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class Arrays:
    """Data of one split of a source that are no documents.

    Arguments:
        values: Finite numbers, ``(data, *shape)``, float32.
        labels: Class ids, ``(data,)``, int64, or ``None``.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.int64]) -> Arrays:
        """The data at the positions ``rows``, in that order."""
        return Arrays(self.values[rows], None if self.labels is None else self.labels[rows])


@dataclass(frozen=True, eq=False)
class RawArrays:
    """A source of other data as it was read: nothing held out yet.

    Arguments:
        splits: The source's own splits. ``"train"`` is always there; a source without splits has only that.
        label_names: The name of each class id; empty without labels.
        notes: Lines for the user.
    """

    splits: dict[SplitName, Arrays]
    label_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def made_up_words(ids: range | NDArray[np.int64]) -> tuple[str, ...]:
    """Names for words of a source that only numbers them, by the source's own numbers.

    Example:
        >>> made_up_words(range(1, 3))
        ('word 1', 'word 2')
    """
    return tuple(f"word {i}" for i in ids)

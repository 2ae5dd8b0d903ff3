"""What every reader returns, whatever the format: counts or numbers as they are in the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Source", "SourceSplit", "SplitName", "numbered_words"]

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class SourceSplit:
    """Data of one split of a source.

    Arguments:
        values: Word counts of documents, ``(documents, words)``, over all words of the source; or numbers,
            ``(data, *shape)``, float32; or several arrays of one length by the names of a model's arguments, float32,
            int64 or bool.
        labels: Class ids, ``(data,)``, int64, or ``None``.
        titles: A name for each datum, or ``None``.
    """

    values: csr_matrix | NDArray[np.float32] | dict[str, NDArray[Any]]
    labels: NDArray[np.int64] | None = None
    titles: tuple[str, ...] | None = None

    def __len__(self) -> int:
        first = next(iter(self.values.values())) if isinstance(self.values, dict) else self.values
        return int(first.shape[0])

    @property
    def array(self) -> NDArray[np.float32]:
        """The values of data that are one array."""
        assert isinstance(self.values, np.ndarray)
        return self.values

    @property
    def counts(self) -> csr_matrix:
        """The values of documents."""
        assert not isinstance(self.values, np.ndarray | dict)
        return self.values

    def take(self, rows: NDArray[np.int64]) -> SourceSplit:
        """The data at the positions ``rows``, in that order."""
        values = self.values
        return SourceSplit(
            {name: array[rows] for name, array in values.items()} if isinstance(values, dict) else values[rows],
            None if self.labels is None else self.labels[rows],
            None if self.titles is None else tuple(self.titles[row] for row in rows),
        )


@dataclass(frozen=True, eq=False)
class Source:
    """A source as it was read: nothing cut, dropped or held out yet.

    Arguments:
        splits: The source's own splits. ``"train"`` is always there; a source without splits has only that.
        words: The word of each column of the counts; empty for other data.
        label_names: The name of each class id; empty without labels.
        notes: Lines for the user.
        classes: Names of the classes of fields that hold texts, by field.
    """

    splits: dict[SplitName, SourceSplit]
    words: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def numbered_words(ids: range | NDArray[np.int64]) -> tuple[str, ...]:
    """Names for words of a source that only numbers them, by the source's own numbers.

    Example:
        >>> numbered_words(range(1, 3))
        ('word 1', 'word 2')
    """
    return tuple(f"word {i}" for i in ids)

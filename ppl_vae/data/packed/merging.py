"""Parts of a corpus on the disk, joined by the names of their words and labels, before anything is held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.packed.manifest import SplitEntry
from ppl_vae.data.packed.split_writer import SplitWriter
from ppl_vae.data.source import Source, SplitName

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Merged"]


class Merged:
    """Parts of one corpus, added one after the other; empty documents are dropped.

    Arguments:
        folder: Folder of their data.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.splits: dict[SplitName, SplitEntry] = {}
        self.empty: dict[SplitName, int] = {}
        self.documents = False
        self._writers: dict[SplitName, SplitWriter] = {}
        self._words: dict[str, int] = {}
        self._labels: dict[str, int] = {}
        self._notes: dict[str, None] = {}

    @property
    def words(self) -> tuple[str, ...]:
        """The words of all parts."""
        return tuple(self._words)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the classes of all parts."""
        return tuple(self._labels)

    @property
    def notes(self) -> list[str]:
        """What readers say, each line once."""
        return list(self._notes)

    def add(self, where: str, source: Source) -> None:
        """Adds a part.

        Raises:
            ValueError: If it has another form than the parts before it, naming it.
        """
        if self._writers and not self.documents and source.words != self.words:
            raise ValueError(f"{where}: its columns are not those of the parts before it; give all parts the same")
        words = _ids(source.words, self._words)
        labels = _ids(source.label_names, self._labels)
        self._notes |= dict.fromkeys(source.notes)
        for name, split in source.splits.items():
            if name not in self._writers:
                self._writers[name], self.empty[name] = SplitWriter(self.folder, name), 0
            self.documents = not isinstance(split.values, np.ndarray | dict)
            if self.documents:
                counts = _renumbered(split.counts, words, len(self._words))
                filled = np.flatnonzero(np.diff(counts.indptr))
                self.empty[name] += len(split) - len(filled)
                split = replace(split, values=counts).take(filled)  # noqa: PLW2901
            if split.labels is not None:
                split = replace(split, labels=labels[split.labels])  # noqa: PLW2901
            try:
                self._writers[name].append(split)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error

    def close(self) -> None:
        """Ends the files."""
        if "train" not in self._writers:
            raise ValueError("no part of the corpus has training data; name data to pack")
        self.splits = {name: writer.close() for name, writer in self._writers.items()}


def _ids(names: tuple[str, ...], known: dict[str, int]) -> NDArray[np.int64]:
    """Ids of names among all, to which new ones are added."""
    return np.array([known.setdefault(name, len(known)) for name in names], np.int64)


def _renumbered(counts: csr_matrix, ids: NDArray[np.int64], words: int) -> csr_matrix:
    """The counts with words by these ids, checked as packed counts are."""
    from scipy.sparse import csr_matrix

    checked = PackedCounts.from_csr(counts).to_csr()
    matrix = csr_matrix((checked.data, ids[checked.indices], checked.indptr), shape=(checked.shape[0], words))
    matrix.sort_indices()
    return matrix

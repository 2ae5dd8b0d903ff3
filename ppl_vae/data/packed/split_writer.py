"""One split of a packed corpus as it is written, some data at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.packed.growing import GrowingArray
from ppl_vae.data.packed.manifest import FIELD, SplitEntry
from ppl_vae.data.packed.stored import Kind, StoredArray
from ppl_vae.data.source import SourceSplit

__all__ = ["SplitWriter", "parts_of"]

_NUMBERS = 2**21
"""Numbers, or entries of documents, that are held in memory at once."""


class SplitWriter:
    """Adds data to the arrays of a split.

    Arguments:
        folder: Folder of the arrays.
        name: Name of the split, before those of the arrays.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.count = folder, name, 0
        self._arrays: dict[str, GrowingArray] = {}
        self._ends = {"offsets": 0, "titles-offsets": 0}
        self.vocabulary = 0
        """Words of the documents so far."""

    def append(self, part: SourceSplit) -> None:
        """Adds data; of documents, whose words have the ids of all parts.

        Raises:
            ValueError: If they have other fields, shapes or kinds of numbers than those before, or labels or titles
                where those have none, or none where those have.
        """
        columns: dict[str, NDArray[Any]] = {}
        values = part.values
        if isinstance(values, np.ndarray):
            columns[f"{FIELD}x"] = values
        elif isinstance(values, dict):
            columns |= {FIELD + name: array for name, array in values.items()}
        else:
            counts = values.sorted_indices()
            columns["offsets"] = self._after("offsets", np.diff(counts.indptr))
            columns["words"], columns["counts"] = counts.indices.astype(np.int64), counts.data.astype(np.float32)
            self.vocabulary = max(self.vocabulary, counts.shape[1])
        if part.labels is not None:
            columns["labels"] = part.labels
        if part.titles is not None:
            texts = [title.encode(errors="replace") for title in part.titles]
            columns["titles-bytes"] = np.frombuffer(b"".join(texts), np.uint8).astype(np.int64)
            columns["titles-offsets"] = self._after("titles-offsets", np.array([len(text) for text in texts], np.int64))
        if not self._arrays:
            for name, array in columns.items():
                self._arrays[name] = GrowingArray(
                    self.folder / f"{self.name}.{name}.npy", _kind(array), array.shape[1:]
                )
        forms = {name: (array.entry.kind, array.entry.shape[1:]) for name, array in self._arrays.items()}
        if forms != (other := {name: (_kind(array), array.shape[1:]) for name, array in columns.items()}):
            raise ValueError(
                f"parts of a corpus have different forms: {_difference(forms, other)}; give all parts the same fields, "
                "shapes and types, and labels and titles to all or none"
            )
        for name, rows in columns.items():
            self._arrays[name].append(rows)
        self.count += len(part)

    def _after(self, name: str, sizes: NDArray[Any]) -> NDArray[np.int64]:
        """Ends of pieces of these sizes behind those before; the first part begins with 0."""
        ends = self._ends[name] + np.cumsum(sizes, dtype=np.int64)
        self._ends[name] = int(ends[-1]) if len(ends) else self._ends[name]
        return ends if name in self._arrays else np.concatenate([[0], ends])

    def close(self) -> SplitEntry:
        """Ends the files; returns what the manifest says of them."""
        entries = {name: array.close().entry for name, array in self._arrays.items()}
        titles = {name: entries.pop(f"titles-{name}") for name in ("bytes", "offsets") if f"titles-{name}" in entries}
        labels = entries.pop("labels", None)
        return SplitEntry(self.count, entries, labels, titles)


def parts_of(folder: Path, name: str, entry: SplitEntry, words: int) -> Iterator[SourceSplit]:
    """The data of a split that was written, some at a time and at least one part.

    Arguments:
        folder: Folder of the arrays.
        name: Name of the split.
        entry: Its arrays.
        words: Size of the vocabulary of documents.
    """
    from scipy.sparse import csr_matrix

    stored = {array.path.name.removeprefix(f"{name}.")[:-4]: array for array in entry.stored(folder, name)}
    numbers = sum(int(np.prod(array.entry.shape)) for array in stored.values())
    step = max(1, _NUMBERS * max(1, entry.data) // max(1, numbers))
    for start in range(0, max(1, entry.data), step):
        rows = slice(start, min(start + step, entry.data))
        values: Any
        if "offsets" in entry.values:
            offsets, entries = _piece(stored, "offsets", rows)
            data = stored["counts"][entries].astype(np.float64), stored["words"][entries], offsets
            values = csr_matrix(data, shape=(rows.stop - rows.start, words))
        else:
            values = {name.removeprefix(FIELD): stored[name][rows] for name in entry.values}
            values = values["x"] if tuple(values) == ("x",) else values
        titles = None
        if entry.titles:
            offsets, entries = _piece(stored, "titles-offsets", rows)
            text = stored["titles-bytes"][entries].astype("u1").tobytes()
            titles = tuple(text[a:b].decode() for a, b in zip(offsets[:-1], offsets[1:], strict=True))
        yield SourceSplit(values, stored["labels"][rows] if "labels" in stored else None, titles)


def _piece(stored: dict[str, StoredArray], name: str, rows: slice) -> tuple[NDArray[np.int64], slice]:
    """Offsets of these rows from 0, and where what they own lies."""
    offsets = stored[name][rows.start : rows.stop + 1]
    return offsets - offsets[0], slice(int(offsets[0]), int(offsets[-1]))


def _kind(array: NDArray[Any]) -> Kind:
    return "float32" if array.dtype.kind == "f" else "bool" if array.dtype.kind == "b" else "int64"


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    def of(forms: dict[str, Any]) -> str:
        unlike = [name for name in {**one, **other} if one.get(name) != other.get(name)]
        return ", ".join(f"{n} {forms[n][0]} {forms[n][1]}" if n in forms else f"no {n}" for n in unlike[:4])

    return f"{of(one)} and {of(other)}"

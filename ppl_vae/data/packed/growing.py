"""An array that grows on the disk, in the narrowest type that holds its numbers exactly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.packed.stored import HEADER, ArrayEntry, Kind, StoredArray, checksum, decoded, header

__all__ = ["GrowingArray"]

_TYPES: dict[Kind, tuple[tuple[str, int], ...]] = {
    "float32": (("|u1", 1), ("|u1", 255), ("<u2", 1), ("<f4", 1)),
    "int64": (("|u1", 1), ("<u2", 1), ("<i4", 1), ("<i8", 1)),
    "bool": (("|b1", 1),),
}
"""Types in the file and divisors by the kind of numbers, the narrowest first; the last holds all."""

_BYTES = 2**24
"""Bytes that are read at once where a file is written again."""


class GrowingArray:
    """An array to which rows are added, written as they come.

    Arguments:
        path: The file.
        kind: Type of the numbers.
        shape: Shape of a row.
    """

    def __init__(self, path: Path, kind: Kind, shape: tuple[int, ...] = ()) -> None:
        self.path = path
        path.write_bytes(bytes(HEADER))
        self._types = [ArrayEntry(kind, dtype, divisor, (0, *shape), "") for dtype, divisor in _TYPES[kind]]  # type: ignore[arg-type]

    @property
    def entry(self) -> ArrayEntry:
        """What is known of it so far."""
        return self._types[0]

    def __len__(self) -> int:
        return self.entry.shape[0]

    def append(self, values: NDArray[Any]) -> None:
        """Adds rows, ``(rows, *shape)``, of the array's kind."""
        while (encoded := _encoded(values, self.entry)) is None:
            self._widen()
        with self.path.open("ab") as file:
            file.write(encoded.data)
        shape = (len(self) + len(values), *self.entry.shape[1:])
        self._types = [replace(entry, shape=shape) for entry in self._types]

    def _widen(self) -> None:
        """Writes the file again in the next type that holds what it has."""
        wider = self._types[1:]
        while not self._rewritten(wider[0]):
            wider = wider[1:]
        self._types = wider

    def _rewritten(self, entry: ArrayEntry) -> bool:
        """Whether a type holds the numbers so far, in which the file is then."""
        beside = self.path.with_suffix(".wider")
        with beside.open("wb") as file:
            file.write(bytes(HEADER))
            for part in self._parts():
                if (encoded := _encoded(part, entry)) is None:
                    return False
                file.write(encoded.data)
        os.replace(beside, self.path)
        return True

    def _parts(self) -> Iterator[NDArray[Any]]:
        """The numbers so far, some at a time."""
        with self.path.open("rb") as file:
            file.seek(HEADER)
            while content := file.read(_BYTES):
                yield decoded(np.frombuffer(content, self.entry.dtype), self.entry)

    def close(self) -> StoredArray:
        """Writes the header and syncs the file; returns the array."""
        with self.path.open("r+b") as file:
            file.write(header(self.entry))
            file.flush()
            os.fsync(file.fileno())
        return StoredArray(self.path, replace(self.entry, sha256=checksum(self.path)))


def _encoded(values: NDArray[Any], entry: ArrayEntry) -> NDArray[Any] | None:
    """Numbers as the file holds them; None if it cannot hold them all exactly."""
    dtype = np.dtype(entry.dtype)
    if values.dtype == dtype:
        return np.ascontiguousarray(values)
    with np.errstate(invalid="ignore"):
        wide = values if entry.divisor == 1 else np.rint(values * np.float32(entry.divisor))
        if wide.size:
            limits = np.iinfo(dtype)
            # Not-a-number compares as false, and an unsigned type has no minus zero.
            if not (wide.min() >= limits.min and wide.max() <= limits.max):
                return None
            if values.dtype.kind == "f" and np.signbit(values).any():
                return None
        encoded = np.ascontiguousarray(wide).astype(dtype)
    return encoded if np.array_equal(decoded(encoded, entry), values) else None

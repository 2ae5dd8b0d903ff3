"""One array of a packed corpus: a ``.npy`` file whose size and checksum are known, mapped while rows are read."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEADER", "ArrayEntry", "Kind", "StoredArray", "checksum", "header"]

HEADER = 128
"""Bytes of the header of every file, so that it can be written last."""

Kind = Literal["float32", "int64", "bool"]
"""Type of the numbers as they are read."""

_REMEDY = "pack the corpus again with ppl-vae data pack, or restore the folder"


@dataclass(frozen=True)
class ArrayEntry:
    """What the manifest says of an array.

    Arguments:
        kind: Type of its numbers as they are read.
        dtype: Type in the file, the narrowest that holds them all exactly.
        divisor: The numbers are those of the file over this: 255 for images of bytes.
        shape: Shape, data first.
        sha256: Checksum of the file.
    """

    kind: Kind
    dtype: Literal["|u1", "<u2", "<i4", "<i8", "<f4", "|b1"]
    divisor: Literal[1, 255]
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, of which rows are read as they are asked for; nothing of it stays in memory.

    Arguments:
        path: The file.
        entry: What the manifest says of it.
    """

    path: Path
    entry: ArrayEntry

    def __len__(self) -> int:
        return self.entry.shape[0]

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return HEADER + math.prod(self.entry.shape) * np.dtype(self.entry.dtype).itemsize

    def check(self) -> None:
        """Compares size, header and checksum with the manifest.

        Raises:
            ValueError: If the file is missing, truncated, longer or damaged, naming it.
        """
        self._check_size()
        with self.path.open("rb") as file:
            if file.read(HEADER) != header(self.entry):
                raise ValueError(f"{self.path} has another header than the manifest says; {_REMEDY}")
        if checksum(self.path) != self.entry.sha256:
            raise ValueError(f"{self.path} is damaged: its checksum is not that of the manifest; {_REMEDY}")

    def _check_size(self) -> None:
        size = self.path.stat().st_size if self.path.is_file() else None
        if size != self.bytes:
            has = "is missing" if size is None else f"has {size:,} bytes, the manifest says {self.bytes:,}"
            raise ValueError(f"{self.path} {has}; {_REMEDY}")

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """These rows, as numbers of the array's kind.

        Raises:
            ValueError: If the file has changed its size since it was checked.
        """
        self._check_size()  # a page that is gone would end the process
        if not math.prod(self.entry.shape):
            return np.zeros(self.entry.shape, self.entry.kind)[rows]
        mapped = np.memmap(self.path, self.entry.dtype, "r", HEADER, self.entry.shape)
        return decoded(np.array(mapped[rows]), self.entry)


def decoded(values: NDArray[Any], entry: ArrayEntry) -> NDArray[Any]:
    """Numbers of a file as numbers of the array's kind."""
    numbers = values.astype(entry.kind, copy=False)
    return numbers if entry.divisor == 1 else numbers / np.float32(entry.divisor)


def header(entry: ArrayEntry) -> bytes:
    """The header of the file: version 1.0 of NumPy's format, padded to :data:`HEADER` bytes.

    Example:
        >>> header(ArrayEntry("int64", "|u1", 1, (3,), ""))[10:67]
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }"
    """
    fields = f"{{'descr': {entry.dtype!r}, 'fortran_order': False, 'shape': {entry.shape!r}, }}"
    return b"\x93NUMPY\1\0" + (HEADER - 10).to_bytes(2, "little") + fields.ljust(HEADER - 11).encode() + b"\n"


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

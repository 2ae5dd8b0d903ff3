"""NumPy's ``.npy`` and ``.npz``: sizes are checked before memory is taken, and nothing is ever unpickled."""

from __future__ import annotations

import ast
import math
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.sizes import check_bytes
from ppl_vae.data.text_file import reason, shown

__all__ = ["ArrayFile", "array_of", "loaded", "names_in"]

T = TypeVar("T")

_MAGIC = b"\x93NUMPY"

_LONGEST = 10_000
"""Most characters of a header."""


def names_in(path: Path) -> list[str]:
    """Names of the files in an archive; none of one that is missing or damaged: its reader says so."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:
        # Damage of a zip's directory shows in too many types to list.
        return []


class ArrayFile:
    """The arrays of an ``.npz``.

    Arguments:
        path: The file.

    Raises:
        ValueError: If it is no archive, a name stands in it twice, or its directory has other names than its members:
            an array whose name is damaged would be passed over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: zipfile.ZipFile = loaded(str(path), lambda: zipfile.ZipFile(path), "numpy.savez")
        members = self._archive.namelist()
        self.files = [name.removesuffix(".npy") for name in members]
        for place, name in enumerate(self.files):
            if name in self.files[:place]:
                raise ValueError(f"{path} holds two arrays {shown(name)}; write it again with numpy.savez")
        loaded(str(path), self._check_names, "numpy.savez")

    def _check_names(self) -> None:
        for member in self._archive.infolist():
            with self._archive.open(member):  # which compares it
                pass

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def __getitem__(self, name: str) -> NDArray[Any]:
        """An array by its name.

        Raises:
            ValueError: If it is not there, damaged, no array of numbers or texts, or does not fit into memory.
        """
        where = f"{self.path}, array {name!r}"
        if name not in self.files:
            raise ValueError(f"{self.path} has no array {name!r}; write it again")
        member = self._archive.infolist()[self.files.index(name)]
        check_bytes(where, member.file_size)
        if member.compress_size > self.path.stat().st_size:  # reading would take as much before it finds out
            raise ValueError(f"{where} is said to take more bytes than the file has; write it with numpy.savez")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others take memory as they say
            raise ValueError(f"{where} is compressed in a way that NumPy does not write; write it with numpy.savez")
        return array_of(where, loaded(where, lambda: self._archive.read(member), "numpy.savez"), "numpy.savez")


def array_of(where: str, content: bytes, writer: str = "numpy.save") -> NDArray[Any]:
    """The array of a ``.npy`` file, as long as its header says.

    Arguments:
        where: What errors call it.
        content: The file.
        writer: Function that writes one, for messages.

    Raises:
        ValueError: If it is damaged, or holds other things than numbers and texts of one size.
    """
    return loaded(where, lambda: _array(content), writer)


def loaded(where: str, load: Callable[[], T], writer: str) -> T:
    """What a function reads; an error of any kind says that the file is damaged."""
    try:
        return load()
    except Exception as error:
        # Damage shows in too many types to list (zip, zlib, header).
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise ValueError(
            f"{where} is truncated or no array of numbers ({kind}{reason(error)}); write an array of floats or "
            f"integers with {writer}"
        ) from error


def _array(content: bytes) -> NDArray[Any]:
    # Magic, version, the length of the header, and the header: a dictionary as Python writes it.
    version = content[6:8]
    if content[:6] != _MAGIC or version not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("it does not begin as an array does")
    start = 10 if version == b"\1\0" else 12
    begin = start + int.from_bytes(content[8:start], "little")
    header = content[start:begin]
    if not start < begin <= min(len(content), _LONGEST):
        raise ValueError(f"its header is said to end at byte {begin:,} of {len(content):,}")
    try:
        fields = ast.literal_eval(header.decode("utf-8" if version == b"\3\0" else "latin-1").strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # nested deeper than the parser's own stack
        raise ValueError("its header is no dictionary") from error
    if not isinstance(fields, dict) or fields.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header has other entries than type, order and shape")
    order, shape = fields["fortran_order"], fields["shape"]
    kind: np.dtype[Any] = np.dtype(fields["descr"])
    if kind.hasobject:
        raise ValueError("an array of Python objects is never unpickled")
    if not isinstance(order, bool) or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"its header has the shape {shown(shape)}")
    if math.prod(shape) * kind.itemsize != len(content) - begin:
        raise ValueError(
            f"its header announces {shown(shape)} of {shown(str(kind))}, it has {len(content) - begin:,} bytes"
        )
    points = np.dtype(np.uint32).newbyteorder(kind.byteorder)
    if kind.kind == "U" and np.frombuffer(content, points, offset=begin).max(initial=0) > sys.maxunicode:
        raise ValueError("its texts hold characters that Unicode does not have")
    # A copy, which can be written to.
    return np.ndarray(shape, kind, bytearray(content[begin:]), order="F" if order else "C")

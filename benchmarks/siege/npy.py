"""Arrays of NumPy's format, written and parsed without it."""

from __future__ import annotations

import ast
import io
import zipfile
from pathlib import Path

import numpy as np

from benchmarks.siege.sources import Invalid, pick

__all__ = ["contents", "members", "npy", "parsed", "random_array"]


def npy(rng: np.random.Generator, array: np.ndarray) -> bytes:
    """An array in one of the versions of the format."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=pick(rng, (None, (1, 0), (2, 0), (3, 0))))
    return buffer.getvalue()


def random_array(rng: np.random.Generator, rows: int, ints: bool = True, axes: int | None = None) -> np.ndarray:
    """An array of one of many types and shapes, in one of both orders."""
    shape = (rows, *rng.integers(1, 4, int(rng.integers(0, 3)) if axes is None else axes).tolist())
    kinds = ("<f4", "<f8", ">f4", "<f2", "|b1", "|u1", "<i2", ">i8", "<u4") if ints else ("<f4", "<f8")
    array = np.asarray(10 * rng.standard_normal(shape)).astype(pick(rng, kinds))
    return np.asfortranarray(array) if rng.random() < 0.2 else array


def parsed(content: bytes) -> np.ndarray:
    """The array of a file."""
    width = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}[content[6:8]]
    size = int.from_bytes(content[8 : 8 + width], "little")
    head = content[8 + width : 8 + width + size]
    if content[:6] != b"\x93NUMPY" or len(head) != size or size > 10_000:
        raise Invalid("no array")
    fields = ast.literal_eval(head.decode("utf-8" if content[6] == 3 else "latin-1").strip())
    kind, order, shape = fields["descr"], fields["fortran_order"], fields["shape"]
    if set(fields) != {"descr", "fortran_order", "shape"} or type(order) is not bool or type(shape) is not tuple:
        raise Invalid("fields")
    dtype = np.dtype(kind)
    if dtype.hasobject or dtype.kind not in "buifUS" or not all(type(n) is int and n >= 0 for n in shape):
        raise Invalid("type")
    count = 1
    for axis in shape:
        count *= axis
    body = content[8 + width + size :]
    if len(body) != count * dtype.itemsize:
        raise Invalid("another size")
    flat = np.frombuffer(body, dtype)
    return flat.reshape(shape, order="F" if order else "C")


def contents(path: Path, *wanted: str) -> dict[str, bytes]:
    """Files of an archive by name: all, or those that are wanted and there."""
    with zipfile.ZipFile(path) as archive:
        if len(set(archive.namelist())) < len(archive.namelist()):
            raise Invalid("one name twice")
        return {name: archive.read(name) for name in archive.namelist() if not wanted or name in wanted}


def members(path: Path, *wanted: str) -> dict[str, np.ndarray]:
    """Arrays of an archive by name: all, or those that are wanted and there."""
    files = contents(path, *(f"{name}.npy" for name in wanted))
    return {name.removesuffix(".npy"): parsed(content) for name, content in files.items()}

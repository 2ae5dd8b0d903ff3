"""The user's own tensors: NumPy's ``.npy`` and ``.npz``, of which nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.array_file import ArrayFile, array_of, loaded, names_in
from ppl_vae.data.images import dequantised
from ppl_vae.data.precision import lost
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.sizes import check_bytes
from ppl_vae.data.source import Source, SourceSplit, SplitName
from ppl_vae.data.text_file import TextFile, unquoted

__all__ = ["READERS", "as_floats", "checked_numbers"]

_AT_ONCE = 2**26
"""Bytes of an array that are read at once where it is read in parts."""

_WHOLE = 2**24
"""32-bit floats hold every whole number up to this one."""


def holds_arrays(path: Path) -> bool:
    """Whether an ``.npz`` holds an array for each split, by their names."""
    return "train.npy" in names_in(path)


def read_npy(path: Path, dequantise: bool = False, missing: bool = False) -> Source:
    """Reads one array ``(data, *shape)`` of whole or real numbers; a single axis is taken as data of one number each.

    Arguments:
        path: The file.
        dequantise: Whether bytes b over 255 become (b + u) / 256 with u uniform in [0, 1): their log-density is then a
            bound on the log-probability of the bytes.
        missing: Whether NaN is allowed: a value that is missing, which the model masks.

    Raises:
        ValueError: If the file is missing, truncated or no array, or the array has no data, other values than numbers
            or a value that is not finite.
    """
    array = array_of(str(path), TextFile.open(path).content)
    notes: list[str] = []
    source = Source({"train": SourceSplit(checked_numbers(str(path), array, notes, missing))}, notes=tuple(notes))
    return dequantised(source, str(path)) if dequantise else source


def npy_parts(path: Path, dequantise: bool = False, missing: bool = False) -> Iterator[Source]:
    """As :func:`read_npy`, some rows at a time, unless they are dequantised: the array may be larger than memory."""
    if dequantise:  # its noise is drawn for all data at once
        yield read_npy(path, dequantise, missing)
        return
    where = str(path)
    array = loaded(where, lambda: np.load(path, mmap_mode="r", allow_pickle=False), "numpy.save")
    rows = max(1, _AT_ONCE // max(1, array[:1].nbytes)) if array.ndim else 1
    for start in range(0, max(1, len(array) if array.ndim else 0), rows):
        notes: list[str] = []
        part = np.array(array[start : start + rows]) if array.ndim else array
        values = checked_numbers(where, part, notes, missing)
        yield Source({"train": SourceSplit(values)}, notes=tuple(notes))


def read_npz(path: Path, dequantise: bool = False, missing: bool = False) -> Source:
    """Reads the arrays ``train`` and, where they are, ``validation`` and ``test``, each as :func:`read_npy` does.

    Arguments:
        path: The file.
        dequantise: Whether bytes b over 255 become (b + u) / 256 with u uniform in [0, 1): their log-density is then a
            bound on the log-probability of the bytes.
        missing: Whether NaN is allowed: a value that is missing, which the model masks.

    Raises:
        ValueError: For the faults of :func:`read_npy`, or if the data of two arrays have different shapes.
    """
    splits: dict[SplitName, SourceSplit] = {}
    notes: list[str] = []
    with ArrayFile(path) as file:
        for name in get_args(SplitName):
            if name in file:
                values = checked_numbers(f"{path}, array {name!r}", file[name], notes, missing)
                splits[cast(SplitName, name)] = SourceSplit(values)
        unread = [name for name in file.files if name not in splits]
    first = splits["train"].array.shape[1:]
    for split, arrays in splits.items():
        if (other := arrays.array.shape[1:]) != first:
            raise ValueError(
                f"{path}: a datum of array 'train' has shape {first}, one of array {split!r} {other}; "
                "give all splits data of one shape"
            )
    if unread:
        names = unquoted(", ".join(unread))
        notes.append(f"{path.name} holds {names} too, which nothing reads: only train, validation and test")
    source = Source(splits, notes=tuple(dict.fromkeys(notes)))
    return dequantised(source, str(path)) if dequantise else source


def checked_numbers(where: str, array: NDArray[Any], notes: list[str], missing: bool) -> NDArray[np.float32]:
    """An array of data as 32-bit floats, with notes on its axes and on what is rounded."""
    if array.dtype.kind not in "buif":
        raise ValueError(f"{where} holds values of type {unquoted(str(array.dtype))}; give floats or integers")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"{where} has shape {array.shape}, which holds no data; give (data, ...), at least one of each"
        )
    if array.ndim == 1:
        array = array[:, None]
        notes.append(f"{where} has a single axis: every number is a datum, of shape (1,)")
    if array.ndim == 4 and array.shape[3] in (3, 4) and array.shape[1] == array.shape[2] > 4:
        notes.append(
            f"{where} has data of shape {array.shape[1:]}, which models of images read as {array.shape[1]} channels; "
            "if it is colours that come last, save numpy.moveaxis(array, -1, 1)"
        )
    values = as_floats(where, array, missing)
    if array.dtype.kind == "f" and (line := lost(array, values)):
        notes.append(f"{where}: {line}")
    if array.dtype.kind in "ui" and max(-int(array.min()), int(array.max())) > _WHOLE:
        notes.append(f"{where} has whole numbers beyond {_WHOLE:,}, which are rounded to 32-bit floats")
    return values


def as_floats(where: str, array: NDArray[Any], missing: bool) -> NDArray[np.float32]:
    """An array as 32-bit floats.

    Raises:
        ValueError: If a value is not finite, naming its row; NaN is allowed if it says what is ``missing``.
    """
    check_bytes(where, 4 * array.size, "as 32-bit floats")
    with np.errstate(over="ignore"):
        values = np.array(array, dtype=np.float32, order="C")
    good = np.isfinite(values) | (np.isnan(values) & missing)
    finite = good.reshape(len(values), -1).all(1)
    if finite.all():
        return values
    row = int(np.argmin(finite))
    wrong = np.atleast_1d(array[row])[~np.atleast_1d(good[row])][0]
    remedy = "; if NaN is a missing value that the model masks, --missing allows it" if np.isnan(wrong) else ""
    raise ValueError(
        f"{where}, row {row} (counted from 0) holds the value {wrong:g}; data are finite, at most 3.4e38: remove "
        f"the row or mend it ({int((~finite).sum())} of {len(values)} rows have such values){remedy}"
    )


READERS = (
    Reader("FILE.npy", "an array (data, ...) of numbers", Tensor, read_npy, suffixes=(".npy",), parts=npy_parts),
    Reader(
        "ARRAYS.npz",
        "arrays of numbers called train and perhaps validation and test",
        Tensor,
        read_npz,
        suffixes=(".npz",),
        matches=holds_arrays,
    ),
)

"""Arrays and tables whose columns are the arguments of a model: ``.npz`` and Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.array_file import ArrayFile, loaded, names_in
from ppl_vae.data.readers.arrays import as_floats
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source, SourceSplit, SplitName
from ppl_vae.data.table import table_source
from ppl_vae.plugins.extras import install

__all__ = ["READERS", "table_or_fields"]

SPLIT = "split"
"""The column that names the split of each row."""

UNNAMED = "arr_"
"""Begins the names that ``numpy.savez`` makes up."""


SPARSE = ({"data.npy", "indices.npy", "indptr.npy", "shape.npy"}, {"data.npy", "row.npy", "col.npy", "shape.npy"})
"""Arrays of a sparse matrix that is written by hand, without the name of its format."""


def holds_columns(path: Path) -> bool:
    """Whether an ``.npz`` holds neither an array, or x, for each split nor SciPy's sparse counts."""
    names = names_in(path)
    pairs = any(name.lower() in ("x_train.npy", "x_training.npy") for name in names)
    sparse = "format.npy" in names or any(parts == set(names) for parts in SPARSE)
    return bool(names) and not pairs and not sparse and "train.npy" not in names


def read_columns(path: Path, fields: str = "", missing: bool = False) -> Source:
    """Reads arrays of one length, each an argument of the model by its name, such as ``x`` and ``y``.

    An array ``split`` of texts gives the split of each row: ``train``, ``validation`` or ``test``.

    Arguments:
        path: The file.
        fields: Names of the arrays to read, separated by commas; by default those that the model takes.
        missing: Whether NaN is allowed: a value that is missing, which the model masks.

    Raises:
        ValueError: If the file is damaged, an array holds no numbers or a value that is not finite, or the arrays have
            several lengths, naming them.
    """
    with ArrayFile(path) as file:
        wanted = _wanted(str(path), file.files, fields)
        columns = {name: file[name] for name in wanted}
        return _source(str(path), columns, file.files, missing)


def read_parquet(path: Path, fields: str = "", missing: bool = False, counts: bool = False) -> Source:
    """Reads the columns of a table, each an argument of the model by its name; lists of one length are vectors.

    Where none is called like an argument, all columns of numbers are its one argument, by their names. Null counts as
    NaN. A column ``split`` of texts gives the split of each row: ``train``, ``validation`` or ``test``.

    Arguments:
        path: The file.
        fields: Names of the columns to read, separated by commas; by default those that the model takes.
        missing: Whether NaN is allowed: a value that is missing, which the model masks.
        counts: Whether the numbers are counts, for models of documents, the columns their words; set by the model.

    Raises:
        ValueError: If pyarrow is not installed, with the command that installs it; else as of arrays.
    """
    return _source_of_groups(path, None, fields, missing, counts)


def parquet_parts(path: Path, fields: str = "", missing: bool = False, counts: bool = False) -> Iterator[Source]:
    """As :func:`read_parquet`, a row group at a time: the table may be larger than memory."""
    groups = loaded(str(path), lambda: _parquet(path).ParquetFile(path).num_row_groups, "a Parquet writer")
    for group in range(groups):
        yield _source_of_groups(path, group, fields, missing, counts)


def _parquet(path: Path) -> Any:  # pyarrow has no types
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            f"{path} is a Parquet table, which needs pyarrow: {install('parquet')}, or write the columns "
            "with numpy.savez"
        ) from error
    return parquet


def _source_of_groups(path: Path, group: int | None, fields: str, missing: bool, counts: bool) -> Source:
    """One row group of a table, or all of them."""
    parquet = _parquet(path)
    names = loaded(str(path), lambda: parquet.read_schema(path).names, "a Parquet writer")
    chosen = [name.strip() for name in fields.split(",")]
    wanted = names if counts or not set(chosen) & set(names) else _wanted(str(path), names, fields)
    table = loaded(
        str(path),
        lambda: (
            parquet.read_table(path, columns=wanted)
            if group is None
            else parquet.ParquetFile(path).read_row_group(group, columns=wanted)
        ),
        "a Parquet writer",
    )
    columns = {name: _column(str(path), name, table.column(name).to_numpy()) for name in wanted}
    partial = group is not None
    return table_or_fields(str(path), columns, fields, counts=counts, missing=missing, names=names, partial=partial)


def table_or_fields(
    where: str,
    columns: Mapping[str, NDArray[Any]],
    fields: str,
    *,
    counts: bool,
    missing: bool,
    names: list[str] | None = None,
    partial: bool = False,
) -> Source:
    """Columns as the arguments of a model, where they are called so, or all as the numbers of its one argument.

    Arguments:
        where: What errors call the table.
        columns: Columns by name.
        fields: Names of the model's arguments, separated by commas.
        counts: Whether the numbers are counts of documents.
        missing: Whether NaN is allowed.
        names: Names of all columns of the file, if some are not among these.
        partial: Whether it is a part of a table, which may have no training data.
    """
    chosen = [name.strip() for name in fields.split(",") if name.strip()]
    found = [name for name in chosen if name in columns]
    alone = [name for name, values in columns.items() if values.ndim == 1 and values.dtype.kind in "buif"]
    # A table may well have a column called x: that is the argument itself where it holds vectors or stands alone.
    if not counts and (len(found) > 1 or any(columns[name].ndim > 1 or alone == [name] for name in found)):
        wanted = _wanted(where, list(columns), fields)
        return _source(where, {name: columns[name] for name in wanted}, names or list(columns), missing, partial)
    if vectors := [name for name, values in columns.items() if values.ndim > 1]:
        raise ValueError(
            f"{where} has vectors in column {vectors[0]!r}, which is no argument of the model; name it by --fields"
        )
    return table_source(where, columns, counts=counts, missing=missing, partial=partial)


def _column(where: str, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """A column as an array: of lists a table with a row for each."""
    if values.dtype != object or not len(values) or isinstance(values[0], str):
        return values
    try:
        return np.stack([np.asarray(value) for value in values])
    except ValueError as error:
        raise ValueError(
            f"{where}, column {name!r} holds values or lists of several kinds or lengths; give numbers, or lists of "
            "one length"
        ) from error


def _wanted(where: str, names: list[str], fields: str) -> list[str]:
    """The columns to read: those asked for that are there, and the one that names splits."""
    choice = [name.strip() for name in fields.split(",") if name.strip()]
    others = [name for name in names if name != SPLIT]
    fields_read = [name for name in others if (name in choice if choice else not name.startswith(UNNAMED))]
    if not fields_read:
        raise ValueError(
            f"{where} has the arrays {', '.join(names) or 'none'}, none of them called {' or '.join(choice) or 'x'} or "
            "train; name them after the arguments of the model, or one for each split train, validation and test, and "
            "write word counts with scipy.sparse.save_npz"
        )
    return fields_read + [SPLIT] * (SPLIT in names)


def _source(
    where: str, columns: Mapping[str, NDArray[Any]], names: list[str], missing: bool, partial: bool = False
) -> Source:
    values = {name: _numbers(f"{where}, array {name!r}", a, missing) for name, a in columns.items() if name != SPLIT}
    if SPLIT in columns and columns[SPLIT].ndim != 1:
        raise ValueError(
            f"{where}: the array 'split' has shape {columns[SPLIT].shape}; give the name of a split for each row"
        )
    lengths = {name: len(array) for name, array in columns.items()}
    if len(set(lengths.values())) > 1:
        each = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"{where}: the arrays have several lengths ({each}); give each one row per datum")
    left_out = [name for name in names if name not in columns]
    notes = (f"{', '.join(left_out)} of {where} are not read: the model does not take them",) if left_out else ()
    whole = SourceSplit(values if len(values) > 1 else next(iter(values.values())))
    if SPLIT not in columns:
        return Source({"train": whole}, notes=notes)
    split = columns[SPLIT].astype(str)
    if unknown := sorted(set(split) - set(get_args(SplitName))):
        raise ValueError(
            f"{where}: the array 'split' has the value {str(unknown[0])!r}; use {', '.join(get_args(SplitName))}"
        )
    if "train" not in split and not partial:
        raise ValueError(f"{where}: no row of the array 'split' is train; name the training data so")
    present = [name for name in get_args(SplitName) if name in split]
    return Source({cast(SplitName, name): whole.take(np.flatnonzero(split == name)) for name in present}, notes=notes)


def _numbers(where: str, array: NDArray[Any], missing: bool) -> NDArray[Any]:
    if array.dtype.kind not in "buif":
        raise ValueError(f"{where} holds values of type {array.dtype}; give floats, integers or booleans")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"{where} has shape {array.shape}, which holds no data; give (data, ...), at least one of each"
        )
    if array.dtype.kind == "f":
        return as_floats(where, array, missing)
    if array.dtype.kind == "u" and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{where} holds {array.max()}, which 64-bit integers do not; give smaller ones, or floats")
    return np.ascontiguousarray(array, dtype=bool if array.dtype.kind == "b" else np.int64)


READERS = (
    Reader(
        "COLUMNS.npz",
        "arrays of one length called like the model's arguments, such as x and y",
        Tensor,
        read_columns,
        suffixes=(".npz",),
        matches=holds_columns,
    ),
    Reader(
        "TABLE.parquet",
        "a table whose columns are called like the model's arguments",
        Tensor,
        read_parquet,
        suffixes=(".parquet",),
        parts=parquet_parts,
    ),
)

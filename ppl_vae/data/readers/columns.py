"""Arrays and tables whose columns are the arguments of a model: ``.npz`` and Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.array_file import ArrayFile, loaded, names_in
from ppl_vae.data.fields import ALL, SPLIT, called, fields_of, table_or_fields
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source
from ppl_vae.data.table import LABELS
from ppl_vae.plugins.extras import install

__all__ = ["READERS"]

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

    An array ``split`` of texts gives the split of each row: ``train``, ``validation`` or ``test``. Other texts are
    classes, whole numbers from 0 in the order of the texts.

    Arguments:
        path: The file.
        fields: Names of the arrays to read, separated by commas, * for all; by default those that the model takes.
        missing: Whether NaN is allowed: a value that is missing, which the model masks.

    Raises:
        ValueError: If the file is damaged, an array holds neither numbers nor texts, or a value that is missing or not
            finite, or the arrays have several lengths, naming them.
    """
    with ArrayFile(path) as file:
        wanted = _wanted(str(path), file.files, fields)
        columns = {name: file[name] for name in wanted}
        return fields_of(str(path), columns, called(wanted, fields or ALL), file.files, missing)


def read_parquet(path: Path, fields: str = "", missing: bool = False, counts: bool = False) -> Source:
    """Reads the columns of a table, each an argument of the model by its name; lists of one length are vectors.

    Where none is called like an argument, all columns of numbers are its one argument, by their names. Null counts as
    NaN. A column ``split`` of texts gives the split of each row: ``train``, ``validation`` or ``test``.

    Arguments:
        path: The file.
        fields: Names of the columns to read, separated by commas, * for all; by default those that the model takes.
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
    wanted = names
    if not counts and any(called(names, fields).values()):
        some = _wanted(str(path), names, fields)
        wanted = [name for name in names if name in some or name.lower() in LABELS]
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
    arguments = called(names, fields)
    fields_read = [name for name in names if (arguments[name] if fields else not name.startswith(UNNAMED))]
    if not [name for name in fields_read if name != SPLIT]:
        raise ValueError(
            f"{where} has the arrays {', '.join(names) or 'none'}, none of them called {fields or 'x'} or train; name "
            "them after the arguments of the model, or one for each split train, validation and test, and write word "
            "counts with scipy.sparse.save_npz"
        )
    return list(dict.fromkeys(fields_read + [SPLIT] * (SPLIT in names)))


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

"""Columns of a table as the arguments of a model that are called so, or all as the numbers of its one argument."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.folders import split_named
from ppl_vae.data.layout import MISSING
from ppl_vae.data.readers.arrays import as_floats
from ppl_vae.data.source import Source, SourceSplit, SplitName
from ppl_vae.data.table import LABELS, label_texts, table_source
from ppl_vae.data.text_file import shown
from ppl_vae.data.tokens import class_ids

__all__ = ["ALL", "SPLIT", "argument_name", "called", "fields_of", "table_or_fields"]

SPLIT = "split"
"""The column that names the split of each row."""

ALL = "*"
"""Stands for the names of all columns."""


def table_or_fields(
    where: str,
    columns: Mapping[str, NDArray[Any]],
    fields: str,
    *,
    counts: bool,
    missing: bool,
    names: list[str] | None = None,
    rows: Sequence[str] | None = None,
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
        rows: Names of the rows, if they are in no column.
        partial: Whether it is a part of a table, which may have no training data.
    """
    arguments = called(list(columns), fields)
    found = [name for name, argument in arguments.items() if argument]
    alone = [name for name, values in columns.items() if values.ndim == 1 and values.dtype.kind in "buif"]
    # A table may well have a column called x: that is the argument itself where it holds vectors or stands alone.
    if not counts and (len(found) > 1 or any(columns[name].ndim > 1 or alone == [name] for name in found)):
        return fields_of(where, columns, arguments, names or list(columns), missing, partial)
    if vectors := [name for name, values in columns.items() if values.ndim > 1]:
        raise ValueError(
            f"{where} has vectors in column {vectors[0]!r}, which is no argument of the model; name it by --fields"
        )
    return table_source(where, columns, counts=counts, missing=missing, names=rows, partial=partial)


def argument_name(column: str) -> str:
    """A column's name as that of an argument: letters, digits and underscores.

    Example:
        >>> argument_name("blood pressure (mmHg)")
        'blood_pressure_mmHg'
    """
    name = re.sub(r"\W+", "_", column).strip("_")
    return f"_{name}" if name[:1].isdigit() else f"{name}_" * keyword.iskeyword(name) or name


def called(names: Sequence[str], fields: str) -> dict[str, str]:
    """The argument that each column is: the one of its name, else of its name as an argument; empty if none."""
    wanted = [name.strip() for name in fields.split(",") if name.strip()]
    if wanted == [ALL]:
        return {name: "" if name == SPLIT else name for name in names}
    result = {name: name if name in wanted else "" for name in names}
    for name in names:
        if not result[name] and argument_name(name) in set(wanted) - set(result.values()):
            result[name] = argument_name(name)
    return result


def fields_of(
    where: str,
    columns: Mapping[str, NDArray[Any]],
    arguments: Mapping[str, str],
    names: Sequence[str],
    missing: bool,
    partial: bool = False,
) -> Source:
    """Columns as the arguments that they are called; those of a split and of a label stand beside them."""
    label = next((name for name in columns if not arguments[name] and name.lower() in LABELS), None)
    used = {name: columns[name] for name in columns if arguments[name] or name in (SPLIT, label)}
    values, classes, notes = dict[str, NDArray[Any]](), dict[str, tuple[str, ...]](), list[str]()
    for name, argument in arguments.items():
        if argument and columns[name].dtype.kind in "OUST" and columns[name].ndim == 1:
            if partial:
                raise ValueError(f"{where}, column {shown(name)} holds texts, which are not read in parts; number them")
            values[argument], classes[argument] = _classes(where, name, columns[name], missing)
        elif argument:
            values[argument] = _numbers(f"{where}, array {name!r}", columns[name], missing)
    if SPLIT in columns and columns[SPLIT].ndim != 1:
        raise ValueError(
            f"{where}: the array 'split' has shape {columns[SPLIT].shape}; give the name of a split for each row"
        )
    lengths = {name: len(array) for name, array in used.items()}
    if len(set(lengths.values())) > 1:
        each = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"{where}: the arrays have several lengths ({each}); give each one row per datum")
    if left_out := [name for name in names if name not in used]:
        are, them = ("is", "it") if len(left_out) == 1 else ("are", "them")
        notes.append(f"{', '.join(left_out)} of {where} {are} not read: the model does not take {them}")
    ids, kinds = (None, ()) if label is None else class_ids(label_texts(where, label, columns[label]))
    whole = SourceSplit(values if len(values) > 1 else next(iter(values.values())), ids)
    if SPLIT not in columns:
        return Source({"train": whole}, (), kinds, tuple(notes), classes)
    split = np.array([split_named(str(name)) or str(name) for name in columns[SPLIT]])
    if unknown := sorted(set(split) - set(get_args(SplitName))):
        raise ValueError(
            f"{where}: the array 'split' has the value {str(unknown[0])!r}; use {', '.join(get_args(SplitName))}"
        )
    if "train" not in split and not partial:
        raise ValueError(f"{where}: no row of the array 'split' is train; name the training data so")
    present = [name for name in get_args(SplitName) if name in split]
    splits = {cast(SplitName, name): whole.take(np.flatnonzero(split == name)) for name in present}
    return Source(splits, (), kinds, tuple(notes), classes)


def _classes(where: str, name: str, values: NDArray[Any], missing: bool) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Numbers of the classes that texts name, and their names; missing ones are a class of their own, on request."""
    given = values.tolist()
    if other := [value for value in given if value == value and not isinstance(value, (str, bool, type(None)))]:
        raise ValueError(
            f"{where}, column {shown(name)} holds a value of type {type(other[0]).__name__}; give numbers or texts"
        )
    texts = ["" if value != value or str(value).strip() in MISSING else str(value).strip() for value in given]
    if "" in texts and not missing:
        raise ValueError(
            f"{where}, column {shown(name)}, row {texts.index('')} (counted from 0) is empty; fill it, or make empty "
            "cells a class of their own by --missing"
        )
    return class_ids([text or "(missing)" for text in texts])


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

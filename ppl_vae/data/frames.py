"""Sources from the objects in which Python programs hold data with names: data frames, AnnData, datasets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ppl_vae.data.fields import table_or_fields
from ppl_vae.data.sizes import check_bytes
from ppl_vae.data.source import Source, SourceSplit
from ppl_vae.data.table import LABELS, SPLITS, by_split
from ppl_vae.data.text_file import LARGEST_COUNT, shown
from ppl_vae.data.tokens import class_ids

__all__ = ["annotated_source", "dataset_tensors", "source_of"]


def source_of(given: Any, *, counts: bool, missing: bool, arguments: Sequence[str] = ()) -> Source | None:
    """The source of a data frame (pandas, polars) or of AnnData; None of anything else.

    Arguments:
        given: The object.
        counts: Whether its numbers are counts of documents.
        missing: Whether NaN is allowed.
        arguments: Names of the arguments of the model: columns called like them are its fields.

    Raises:
        ValueError: As of tables and of :func:`annotated_source`.
    """
    if all(hasattr(given, name) for name in ("X", "obs", "var_names", "obs_names", "layers")):
        obs = {str(name): given.obs[name].to_numpy() for name in given.obs.columns}
        words, names = [str(name) for name in given.var_names], [str(name) for name in given.obs_names]
        return annotated_source("the AnnData", given.X, obs, words, names, counts=counts, missing=missing)
    if not (hasattr(given, "columns") and hasattr(given, "dtypes") and hasattr(given, "to_numpy")):
        return None
    columns = {str(name): _column(given[name]) for name in given.columns}
    if len(columns) < len(list(given.columns)):
        raise ValueError("two columns of the table have one name; give every column a name of its own")
    index = getattr(given, "index", None)
    rows = [str(name) for name in index] if index is not None and index.dtype.kind in "OUS" else None
    return table_or_fields("the table", columns, ",".join(arguments), counts=counts, missing=missing, rows=rows)


def _column(column: Any) -> NDArray[Any]:
    import pandas

    values = np.asarray(column.to_numpy())
    if values.dtype.kind == "O" and re.match(r"u?int\d|float|double|bool", str(column.dtype).lower()):
        missing = pandas.isna(values)
        return np.array([np.nan if gone else float(value) for value, gone in zip(values, missing, strict=True)])
    return values


def annotated_source(
    where: str,
    matrix: Any,
    obs: Mapping[str, NDArray[Any]],
    words: Sequence[str],
    names: Sequence[str],
    *,
    counts: bool,
    missing: bool = False,
    label: str = "",
    raw: str = "raw counts by --layer (layers/counts, raw/X)",
) -> Source:
    """Cells by genes, as AnnData has them: a cell is a datum, its genes are the words or the numbers.

    Arguments:
        where: What errors call it.
        matrix: An array or sparse matrix ``(cells, genes)``.
        obs: What is known about each cell, by name, of which one column may be the labels and one the split.
        words: Names of the genes.
        names: Names of the cells.
        counts: Whether the numbers are counts of documents.
        missing: Whether NaN is allowed.
        label: Name of the column of labels; by default one called cell_type, label, ... or else none.
        raw: What to name where numbers are no counts, and how.

    Raises:
        ValueError: If there is no such column, or a number is no count, or not finite.
    """
    from scipy.sparse import csr_matrix, issparse

    if label and label not in obs:
        raise ValueError(f"{where} has no column {shown(label)} in obs; choose from {shown(', '.join(obs), 200)}")
    notes = []
    label = label or next((name for each in reversed(LABELS) for name in obs if name.lower() == each), "")
    ids, classes = None, tuple[str, ...]()
    if label:
        ids, classes = class_ids([str(value) for value in obs[label].tolist()])
        notes.append(f"column {shown(label)} of obs holds the labels")
    elif obs:
        notes.append(
            f"no column of obs is called label or cell_type: --label names one of {shown(', '.join(obs), 200)}"
        )
    splits = next(([str(v) for v in obs[name].tolist()] for name in obs if name.lower() in SPLITS), None)
    values: Any
    if counts:
        values = csr_matrix(matrix)
        right = (values.data >= 0) & (values.data <= LARGEST_COUNT) & (values.data == np.rint(values.data))
        if not right.all():
            raise ValueError(
                f"{where} holds {values.data[np.argmin(right)]:g}, and counts are whole numbers: name {raw}, or take a "
                "model of tensors"
            )
    else:
        check_bytes(where, 4 * matrix.shape[0] * matrix.shape[1], "as 32-bit floats")
        with np.errstate(over="ignore"):
            values = (csr_matrix(matrix) if issparse(matrix) else np.asarray(matrix)).astype(np.float32)
            values = values.toarray() if issparse(values) else values  # 32-bit floats already
        wrong = ~(np.isfinite(values) | (np.isnan(values) & missing)).all(1)
        if wrong.any():
            raise ValueError(
                f"{where}, row {int(np.argmax(wrong))}: a value that is not finite; remove or mend the row"
            )
    return by_split(where, SourceSplit(values, ids, tuple(names)), splits, tuple(words), classes, notes)


def dataset_tensors(given: object) -> tuple[Tensor, ...] | None:
    """All data of a map-style ``Dataset``, or of the one a ``DataLoader`` reads, as tensors; None of other objects.

    Each item is read once, in the order of its number: order, batches and sampler of a loader are not taken over.

    Raises:
        ValueError: If it has no length, or its items are no tensors or numbers of one shape.
    """
    if isinstance(given, DataLoader):
        given = given.dataset
    if not isinstance(given, Dataset) or isinstance(given, TensorDataset):
        return None
    if isinstance(given, IterableDataset) or not hasattr(given, "__len__"):
        raise ValueError(
            f"{type(given).__name__} has no length, and is read once from beginning to end; give a dataset with "
            "__len__ and __getitem__, or tensors"
        )
    parts: list[Tensor] = []
    count = len(given)
    for place in range(count):
        item = given[place]
        fields = [torch.as_tensor(value) for value in _fields(item, place)]
        if not parts:
            size = sum(field.numel() * field.element_size() for field in fields)
            check_bytes(type(given).__name__, count * size, f"for {count:,} items as tensors")
            parts = [torch.empty((count, *field.shape), dtype=field.dtype) for field in fields]
        if [field.shape for field in fields] != [part.shape[1:] for part in parts]:
            raise ValueError(
                f"item {place} of {type(given).__name__} has the shapes {[tuple(field.shape) for field in fields]}, "
                f"item 0 {[tuple(part.shape[1:]) for part in parts]}; bring all to one, such as by a transform"
            )
        for part, field in zip(parts, fields, strict=True):
            part[place] = field
    if not parts:
        raise ValueError(f"{type(given).__name__} has no items; give data")
    return tuple(parts)


def _fields(item: object, place: int) -> list[Any]:
    values = list(item) if isinstance(item, (tuple, list)) else [item]
    for value in values:
        if not isinstance(value, (Tensor, np.ndarray, np.generic, int, float)):
            raise ValueError(
                f"item {place} holds a {type(value).__name__}, no tensor; give the dataset a transform, such as "
                "torchvision.transforms.ToTensor()"
            )
    return values

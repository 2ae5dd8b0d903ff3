"""AnnData's ``.h5ad``: cells by genes, with the names of both and what is known about the cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.frames import annotated_source
from ppl_vae.data.hdf5 import hdf5_arrays
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.sizes import check_bytes, check_documents, check_words
from ppl_vae.data.source import Source
from ppl_vae.data.text_file import reason, shown

__all__ = ["READER"]

Arrays = dict[str, NDArray[Any]]


def read_h5ad(path: Path, counts: bool = False, missing: bool = False, layer: str = "X", label: str = "") -> Source:
    """Reads a matrix of cells by genes, dense or sparse; nothing is unpickled.

    Arguments:
        path: The file.
        counts: Whether the numbers are counts, for models of documents, the genes their words; set by the model.
        missing: Whether NaN is allowed: a value that is missing, which the model masks.
        layer: The matrix: X, raw/X, or the name of a layer such as counts.
        label: The column of obs that is the label; by default cell_type or label, if there is one.

    Raises:
        ValueError: If h5py is not installed, with the command that installs it; if the file is damaged, has no such
            matrix or column, or its parts do not fit together.
    """
    place = layer if layer in ("X", "raw/X") else f"layers/{layer}"
    genes = "raw/var" if place == "raw/X" else "var"
    arrays = hdf5_arrays(path, place, "obs", genes)
    if not any(name == place or name.startswith(f"{place}/") for name in arrays):
        layers = ["X", *arrays.get("layers/", np.array([])).tolist()]
        raise ValueError(f"{path} has no matrix {shown(layer)}; choose --layer from {shown(', '.join(layers), 100)}")
    try:
        names, words = _index(arrays, "obs"), _index(arrays, genes)
        matrix = _matrix(str(path), arrays, place)
        obs = _frame(arrays, len(names))
        if matrix.shape != (len(names), len(words)):
            raise _DamagedError(
                f"its matrix is {matrix.shape}, its names are {len(names)} cells and {len(words)} genes"
            )
    except _DamagedError as error:
        raise ValueError(f"{path} is damaged, or not written by AnnData ({reason(error)}); write it again") from None
    return annotated_source(str(path), matrix, obs, words, names, counts=counts, missing=missing, label=label)


class _DamagedError(Exception):
    """What does not fit together in a file."""


def _array(arrays: Arrays, name: str, kinds: str) -> NDArray[Any]:
    if name not in arrays:
        raise _DamagedError(f"it has no array {shown(name)}")
    if arrays[name].dtype.kind not in kinds or arrays[name].ndim != 1:
        raise _DamagedError(f"array {shown(name)} holds {arrays[name].dtype} of {arrays[name].ndim} axes")
    return arrays[name]


def _matrix(where: str, arrays: Arrays, place: str) -> Any:
    from scipy.sparse import csc_matrix, csr_matrix

    if place in arrays:
        if arrays[place].ndim != 2 or arrays[place].dtype.kind not in "buif":
            raise _DamagedError(f"its matrix has the shape {arrays[place].shape}")
        return arrays[place]
    form = str(arrays.get(f"{place}@encoding-type", arrays.get(f"{place}@h5sparse_format", "")))
    sizes = np.atleast_1d(arrays.get(f"{place}@shape", arrays.get(f"{place}@h5sparse_shape", np.array([]))))
    if form.split("_")[0] not in ("csr", "csc") or sizes.shape != (2,) or sizes.dtype.kind not in "ui":
        raise _DamagedError(f"its matrix is {shown(form)} of shape {shown(sizes.tolist())}: no dense, csr or csc one")
    shape = int(sizes[0]), int(sizes[1])
    values = _array(arrays, f"{place}/data", "buif")
    places, pointers = (_array(arrays, f"{place}/{name}", "ui") for name in ("indices", "indptr"))
    rows = form.startswith("csr")
    outer, inner = shape if rows else shape[::-1]
    if places.shape != values.shape or pointers.shape != (outer + 1,) or min(shape) < 0:
        raise _DamagedError(f"its arrays have the shapes {values.shape}, {places.shape}, {pointers.shape} for {shape}")
    check_documents(where, shape[0], len(values))
    check_words(where, shape[1], len(values))
    steps = np.diff(pointers.astype(np.int64))
    if pointers[0] != 0 or pointers[-1] != len(values) or (steps < 0).any():
        raise _DamagedError(f"its pointers do not rise from 0 to {len(values)}")
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < inner:
        raise _DamagedError(f"an entry lies outside its {inner} {'columns' if rows else 'rows'}")
    check_bytes(where, 16 * len(values), "as a sparse matrix")
    triple = values.astype(np.float64), places.astype(np.int64), pointers.astype(np.int64)
    matrix = csr_matrix(triple, shape=shape) if rows else csc_matrix(triple, shape=shape).tocsr()
    matrix.sum_duplicates()
    return matrix


def _index(arrays: Arrays, frame: str) -> list[str]:
    """Names of the rows of a frame."""
    names = [str(name) for name in _array(arrays, f"{frame}/{arrays.get(f'{frame}@_index', '_index')}", "Uui").tolist()]
    if len(set(names)) < len(names):
        raise _DamagedError(f"a name of {frame} stands in it twice")
    return names


def _frame(arrays: Arrays, rows: int) -> Arrays:
    """Columns of texts, classes and numbers that are known about the cells."""
    columns: Arrays = {}
    index = str(arrays.get("obs@_index", "_index"))
    for place, values in arrays.items():
        parts = place.split("/")
        if parts[0] != "obs" or "@" in place or parts[1] in (index, "__categories"):
            continue
        name = parts[1]
        if len(parts) == 3 and parts[2] == "codes" and f"obs/{name}/categories" in arrays:
            codes, classes = _array(arrays, place, "ui"), _array(arrays, f"obs/{name}/categories", "Ubuif")
            if len(codes) and not -1 <= int(codes.min()) <= int(codes.max()) < len(classes):
                raise _DamagedError(f"column {shown(name)} has a class beyond its {len(classes)}")
            values = np.array([*map(str, classes.tolist()), "missing"], dtype=object)[codes.astype(np.int64)]
        elif len(parts) > 2 or values.ndim != 1:
            continue
        if len(values) != rows:
            raise _DamagedError(f"column {shown(name)} has {len(values)} rows for {rows} names")
        columns[name] = values
    return columns


READER = Reader(
    "CELLS.h5ad",
    "AnnData: cells by genes, counts or numbers, with names and labels (--layer, --label)",
    Tensor,
    read_h5ad,
    suffixes=(".h5ad",),
)

"""SciPy's own format: a sparse matrix of counts, words and labels beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.array_file import ArrayFile
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.sizes import check_documents, check_words
from ppl_vae.data.source import Source, SourceSplit, numbered_words
from ppl_vae.data.text_file import LARGEST_COUNT, TextFile, first_wrong, reason, shown
from ppl_vae.data.tokens import class_ids

__all__ = ["READER", "entries_of"]


def read_csr(path: Path) -> Source:
    """Reads a file of ``scipy.sparse.save_npz``, ``(documents, words)``; nothing is unpickled.

    Rows, columns or coordinates are the forms that counts have (csr, csc, coo). Several entries at one place are added,
    as SciPy does.

    ``vocabulary.txt`` beside it, one word per line, names the columns, and ``labels.txt``, one label per line, the
    classes of the documents.

    Raises:
        ValueError: If the file is missing, truncated or no sparse matrix in one of these forms, if a count is negative,
            fractional or not finite, or if the files beside it have another number of lines than the matrix has columns
            or rows.
    """
    from scipy.sparse import coo_matrix

    if not path.is_file():
        raise ValueError(f"there is no file {path}; check the path")
    try:
        with ArrayFile(path) as file:
            entries, rows, columns, shape = entries_of(file)
    except ValueError as error:
        raise ValueError(
            f"{path} is truncated or no sparse matrix ({reason(error)}); write it with scipy.sparse.save_npz"
        ) from error
    check_words(str(path), shape[1], len(entries))
    check_documents(str(path), shape[0], len(entries))
    entry = first_wrong(entries, low=0, high=LARGEST_COUNT)
    if entry is not None:
        raise ValueError(
            f"{path}: count {entries[entry]:.12g} of word {columns[entry]} in document {rows[entry]}; counts "
            f"are whole numbers from 0 to {LARGEST_COUNT}, so give raw counts and not weights"
        )
    counts = coo_matrix((entries.astype(np.float64), (rows, columns)), shape=shape).tocsr()
    words = _beside(path, "vocabulary.txt", "word", "columns", counts.shape[1])
    labels = _beside(path, "labels.txt", "label", "rows", counts.shape[0])
    ids, names = class_ids(labels) if labels else (None, ())
    notes = () if words else ("no vocabulary.txt beside the counts: words go by their column numbers",)
    return Source({"train": SourceSplit(counts, ids)}, words or numbered_words(range(counts.shape[1])), names, notes)


def entries_of(file: ArrayFile) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64], tuple[int, int]]:
    """Values, rows, columns and shape of a stored matrix, all checked before SciPy, which trusts them, sees them.

    Raises:
        ValueError: If they describe no matrix, saying why.
    """
    form = _form(file)
    if form not in ("csr", "csc", "coo"):
        raise ValueError(f"its format is {shown(form, 20)}; convert the matrix by .tocsr() first")
    places = ("row", "col") if form == "coo" else ("indices", "indptr")
    values, first, second, sizes = (file[name] for name in ("data", *places, "shape"))
    if values.dtype.kind not in "buif" or any(array.dtype.kind not in "ui" for array in (first, second, sizes)):
        raise ValueError(
            f"it holds values of type {shown(str(values.dtype))} at places of type {shown(str(first.dtype))}"
        )
    if sizes.shape != (2,) or values.ndim != 1 or first.shape != values.shape or second.ndim != 1:
        raise ValueError(f"its arrays have the shapes {values.shape}, {first.shape}, {second.shape}, {sizes.shape}")
    shape = int(sizes[0]), int(sizes[1])
    if form != "coo":
        outer = shape[0] if form == "csr" else shape[1]
        pointers = second.astype(np.int64)
        steps = pointers[1:] - pointers[:-1]
        if len(second) != outer + 1 or second[0] != 0 or second[-1] != len(values) or (steps < 0).any():
            raise ValueError(f"its {len(second)} pointers do not rise from 0 to {len(values)} over {outer} of {shape}")
        second = np.repeat(np.arange(outer), steps)
    elif second.shape != first.shape:
        raise ValueError(f"it has {len(first)} rows and {len(second)} columns for its entries")
    rows, columns = (second, first) if form == "csr" else (first, second)
    for name, places_of, size in (("row", rows, shape[0]), ("column", columns, shape[1])):
        if size < 0 or len(places_of) and not 0 <= int(places_of.min()) <= int(places_of.max()) < size:
            raise ValueError(f"an entry lies outside its {size} {name}s")
    return values, rows.astype(np.int64), columns.astype(np.int64), shape


def _form(file: ArrayFile) -> str:
    """The form of a stored matrix; where it is not named, that which its arrays have: rows before columns."""
    if "format" in file or not {"data", "shape"} <= set(file.files):
        text = file["format"]
        if text.size != 1:
            return ""
        return text.item().decode("latin-1") if text.dtype.kind == "S" else str(text.item())
    if "indptr" not in file:
        return "coo"
    return "csc" if len(file["indptr"]) != int(file["shape"].flat[0]) + 1 else "csr"


def _beside(path: Path, name: str, what: str, axis: str, size: int) -> tuple[str, ...] | None:
    beside = path.parent / name
    if not beside.is_file():
        return None
    lines = TextFile.open(beside).names(what, distinct=what == "word")
    if len(lines) != size:
        raise ValueError(f"{beside} has {len(lines)} lines for {size} {axis} of {path.name}; give one {what} per line")
    return lines


READER = Reader(
    "FILE.npz",
    "SciPy sparse counts, one row per document; with vocabulary.txt and labels.txt beside it, if any",
    PackedCounts,
    read_csr,
    suffixes=(".npz",),
    fallback=True,
)

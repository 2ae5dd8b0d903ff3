"""SciPy's own format: a sparse matrix of counts, words and labels beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source, SourceSplit, numbered_words
from ppl_vae.data.text_file import LARGEST_COUNT, TextFile, first_wrong
from ppl_vae.data.tokens import class_ids

__all__ = ["READER"]


def read_csr(path: Path) -> Source:
    """Reads a file of ``scipy.sparse.save_npz``, ``(documents, words)``; nothing is unpickled.

    ``vocabulary.txt`` beside it, one word per line, names the columns, and ``labels.txt``, one label per line, the
    classes of the documents.

    Raises:
        ValueError: If the file is missing, truncated or no sparse matrix, if a count is negative, fractional or not
            finite, or if the files beside it have another number of lines than the matrix has columns or rows.
    """
    from scipy.sparse import csr_matrix, load_npz

    if not path.is_file():
        raise ValueError(f"there is no file {path}; check the path")
    try:
        with path.open("rb") as file:
            counts = csr_matrix(load_npz(file))
        counts.check_format(full_check=True)
    except Exception as error:
        # Damage shows in too many types to list (zip, zlib, header, missing arrays, shapes).
        raise ValueError(
            f"{path} is truncated or no sparse matrix ({type(error).__name__}); write it with scipy.sparse.save_npz"
        ) from error
    if counts.dtype.kind not in "buif":
        raise ValueError(f"{path} holds values of type {counts.dtype}; give whole counts")
    entry = first_wrong(counts.data, low=0, high=LARGEST_COUNT)
    if entry is not None:
        document = int(np.searchsorted(counts.indptr, entry, side="right")) - 1
        raise ValueError(
            f"{path}: count {counts.data[entry]:.12g} of word {counts.indices[entry]} in document {document}; counts "
            f"are whole numbers from 0 to {LARGEST_COUNT}, so give raw counts and not weights"
        )
    counts = counts.astype(np.float64)
    counts.sum_duplicates()
    words = _beside(path, "vocabulary.txt", "word", "columns", counts.shape[1])
    labels = _beside(path, "labels.txt", "label", "rows", counts.shape[0])
    ids, names = class_ids(labels) if labels else (None, ())
    notes = () if words else ("no vocabulary.txt beside the counts: words go by their column numbers",)
    return Source({"train": SourceSplit(counts, ids)}, words or numbered_words(range(counts.shape[1])), names, notes)


def _beside(path: Path, name: str, what: str, axis: str, size: int) -> tuple[str, ...] | None:
    beside = path.parent / name
    if not beside.is_file():
        return None
    lines = TextFile.open(beside).names(what)
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

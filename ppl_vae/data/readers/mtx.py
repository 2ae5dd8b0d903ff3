"""Matrix Market files, and the folders of 10x Genomics: genes by cells with the names of both."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ppl_vae.data.frames import annotated_source
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.sizes import check_documents, check_words
from ppl_vae.data.source import Source, numbered_words
from ppl_vae.data.text_file import LARGEST_ID, TextFile, first_wrong, plain_name, shown

__all__ = ["READERS"]

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_HEADER = re.compile(r"%%MatrixMarket\s+matrix\s+coordinate\s+(real|integer|pattern)\s+general\s*", re.IGNORECASE)

_ENDINGS = ("", ".gz", ".xz")


def _named(folder: Path, *names: str) -> Path | None:
    """The first file of these names that a folder has, compressed or not."""
    return next((p for name in names for end in _ENDINGS if (p := folder / f"{name}{end}").is_file()), None)


def is_10x(folder: Path) -> bool:
    """Whether a folder holds a matrix and the names of its genes."""
    return _named(folder, "matrix.mtx") is not None and _named(folder, "features.tsv", "genes.tsv") is not None


def read_mtx(path: Path, counts: bool = False, transpose: bool = False) -> Source:
    """Reads a sparse matrix of which a row is a datum, with ``vocabulary.txt`` beside it naming the columns.

    A file called ``matrix.mtx`` with ``features.tsv`` (or ``genes.tsv``) and ``barcodes.tsv`` beside it is read as
    10x Genomics writes it, a column for each cell.

    Arguments:
        path: The file.
        counts: Whether the numbers are counts, for models of documents; set by the model.
        transpose: Whether a column is a datum.

    Raises:
        ValueError: If the header, a size, an entry or the number of names is wrong, naming the line.
    """
    if plain_name(path) == "matrix.mtx" and is_10x(path.parent):
        return read_10x(path.parent, counts)
    matrix = _matrix(TextFile.open(path))
    matrix = matrix.T.tocsr() if transpose else matrix
    beside = _named(path.parent, "vocabulary.txt")
    words = (
        TextFile.open(beside).names("word", distinct=True) if beside else numbered_words(range(1, matrix.shape[1] + 1))
    )
    if len(words) != matrix.shape[1]:
        raise ValueError(
            f"{beside} has {len(words)} words for {matrix.shape[1]} columns of {path.name}; give one per line"
        )
    names = tuple(f"row {row + 1}" for row in range(matrix.shape[0]))
    return annotated_source(str(path), matrix, {}, words, names, counts=counts)


def read_10x(folder: Path, counts: bool = False) -> Source:
    """Reads ``matrix.mtx``, ``features.tsv`` (or ``genes.tsv``) and ``barcodes.tsv``, compressed or not.

    Genes go by their symbols, the second column, or where two have one, by their ids.

    Arguments:
        folder: The folder.
        counts: Whether the numbers are counts, for models of documents; set by the model.

    Raises:
        ValueError: If a file is missing or damaged, or the names are more or fewer than the matrix has.
    """
    files = [_named(folder, *names) for names in (("matrix.mtx",), ("features.tsv", "genes.tsv"), ("barcodes.tsv",))]
    if files[2] is None or files[1] is None or files[0] is None:
        raise ValueError(f"{folder} has no barcodes.tsv beside matrix.mtx; put it back, or give the matrix alone")
    matrix = _matrix(TextFile.open(files[0])).T.tocsr()
    rows = [line.split("\t") for line in TextFile.open(files[1]).names("gene")]
    ids, symbols = [row[0].strip() for row in rows], [row[min(1, len(row) - 1)].strip() for row in rows]
    times = Counter(symbols)
    words = [f"{symbol} {key}" if times[symbol] > 1 else symbol for key, symbol in zip(ids, symbols, strict=True)]
    if len(set(words)) < len(words):
        raise ValueError(f"{files[1]} names a gene twice; give every gene an id of its own")
    names = [line.split("\t")[0] for line in TextFile.open(files[2]).names("cell")]
    for what, axis, given, file in (("cells", 0, names, files[2]), ("genes", 1, words, files[1])):
        if len(given) != matrix.shape[axis]:
            raise ValueError(
                f"{file} names {len(given)} {what}, the matrix has {matrix.shape[axis]}; download them again"
            )
    return annotated_source(str(folder), matrix, {}, words, names, counts=counts)


def _matrix(file: TextFile) -> csr_matrix:
    from scipy.sparse import coo_matrix

    lines = file.text.split("\n", 1)
    header = _HEADER.fullmatch(lines[0])
    if header is None:
        raise file.error(1, f"it begins with {shown(lines[0])}", "give '%%MatrixMarket matrix coordinate real general'")
    skip = 1
    for line in file.lines[1:]:
        if line.strip() and not line.startswith("%"):
            break
        skip += 1
    sizes = file.lines[skip].split() if skip < len(file.lines) else []
    if len(sizes) != 3 or not all(re.fullmatch("[0-9]{1,10}", size) and int(size) <= LARGEST_ID for size in sizes):
        raise file.error(
            skip + 1, f"expected 'rows columns entries', got {shown(' '.join(sizes))}", "download it again"
        )
    rows, columns, entries = map(int, sizes)
    check_words(file.where, columns, entries)
    check_documents(file.where, rows, entries)
    pattern = header[1].lower() == "pattern"
    table = file.numbers(2 if pattern else 3, "'row column'" if pattern else "'row column value'", skip=skip + 1)
    if len(table) != entries:
        raise ValueError(f"{file.where}: {entries} entries announced, {len(table)} found; download the file again")
    for values, what, high in ((table[:, 0], "row", rows), (table[:, 1], "column", columns)):
        wrong = first_wrong(values, low=1, high=high)
        if wrong is not None:
            place = file.line_of(wrong, skip=skip + 1)
            raise file.error(place, f"{what} {values[wrong]:.12g}", f"there are {high}, counted from 1")
    places: Any = (table[:, 0].astype(np.int64) - 1, table[:, 1].astype(np.int64) - 1)
    matrix = coo_matrix((np.ones(len(table)) if pattern else table[:, 2], places), shape=(rows, columns)).tocsr()
    matrix.eliminate_zeros()
    return matrix


READERS = (
    Reader("FILE.mtx", "Matrix Market: a row is a datum (--transpose: a column)", Tensor, read_mtx, suffixes=(".mtx",)),
    Reader(
        "10X/",
        "matrix.mtx, features.tsv and barcodes.tsv of 10x Genomics, counts of genes in cells",
        Tensor,
        read_10x,
        matches=is_10x,
    ),
)

"""Rows ``document word count``: the layout that the Matlab files and UCI's bags of words share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ppl_vae.data.sizes import check_words
from ppl_vae.data.text_file import LARGEST_COUNT, LARGEST_ID, TextFile, first_wrong

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["read_triplets"]


def read_triplets(
    file: TextFile, *, documents: int, words: int | None = None, entries: int | None = None, skip: int = 0
) -> csr_matrix:
    """Counts of a file of triplets, ids counted from 1; triplets of the same document and word are added.

    Arguments:
        file: The triplets.
        documents: The number of documents, the highest document id allowed.
        words: The number of words; by default the highest word id found.
        entries: The number of triplets there should be, if that is known.
        skip: Lines at the top that are not triplets.

    Returns:
        Counts, ``(documents, words)``.

    Raises:
        ValueError: If a line is not three numbers, an id is out of range or a count is negative or fractional, or
            if triplets are missing.
    """
    from scipy.sparse import coo_matrix

    table = file.numbers(3, "'document word count'", skip=skip)
    if entries is not None and len(table) != entries:
        raise ValueError(f"{file.where}: {entries} triplets announced, {len(table)} found; download the file again")
    known = f"there are {words} words" if words is not None else "ids are whole numbers"
    limits = [
        ("document id", 1, documents, f"there are {documents} documents, counted from 1"),
        ("word id", 1, LARGEST_ID if words is None else words, f"{known}, counted from 1"),
        ("count", 0, LARGEST_COUNT, f"counts are whole numbers of at most {LARGEST_COUNT}"),
    ]
    for values, (what, low, high, remedy) in zip(table.T, limits, strict=True):
        row = first_wrong(values, low=low, high=high)
        if row is not None:
            raise file.error(file.line_of(row, skip=skip), f"{what} {values[row]:.12g}", remedy)
    rows, columns = table[:, 0].astype(np.int64) - 1, table[:, 1].astype(np.int64) - 1
    width = int(columns.max(initial=-1)) + 1 if words is None else words
    if words is None:
        check_words(file.where, width, len(table))
    return coo_matrix((table[:, 2], (rows, columns)), shape=(documents, width)).tocsr()

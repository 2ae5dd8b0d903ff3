"""SVMlight and LIBSVM: lines ``label word:count word:count ...``."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source, SourceSplit, numbered_words
from ppl_vae.data.text_file import LARGEST_COUNT, LARGEST_ID, TextFile, first_wrong, shown

__all__ = ["READER", "read_svmlight"]

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"

_NO_NUMBER = re.compile(r"[^0-9eE+.\-: \t\n]")
"""Characters that no line has: Python takes digits of other scripts and ``1_0`` for numbers."""

_LINE = re.compile(rf"\s*{_NUMBER}(\s+{_NUMBER}:{_NUMBER})*\s*", re.ASCII)


def read_svmlight(path: Path) -> Source:
    """Reads a file of labelled counts, gzipped or not; ``#`` starts a comment.

    Word ids count from 0 if an id 0 occurs, and from 1 otherwise; words go by these numbers. Each distinct
    label is a class.

    Raises:
        ValueError: If a line has another form, an id is negative or fractional or a count is not a whole number.
    """
    from scipy.sparse import csr_matrix

    file = TextFile.open(path)
    file.check_size(24)  # ids and counts as numbers of 64 bits beside the text: 23 bytes for each, as measured
    text = re.sub(r"#[^\n]*", "", file.text)
    parsed = _parse(text)
    if parsed is None:
        raise _first_bad_line(file, text)
    values, pairs, lines = parsed
    # A document's label stands before its pairs of id and count.
    first = np.cumsum(1 + 2 * pairs) - (1 + 2 * pairs)
    is_label = np.zeros(len(values), dtype=bool)
    is_label[first] = True
    ids, counts = values[~is_label].reshape(-1, 2).T
    for entries, what, high in ((ids, "word id", LARGEST_ID), (counts, "count", LARGEST_COUNT)):
        entry = first_wrong(entries, low=0, high=high)
        if entry is not None:
            line = int(lines[np.searchsorted(np.cumsum(pairs), entry, side="right")])
            remedy = f"{what}s are whole numbers from 0 to {high}"
            raise file.error(line, f"{what} {entries[entry]:.12g}", remedy)
    # Hashed ids can be far apart: only words that occur become columns.
    used, columns = np.unique(ids.astype(np.int64), return_inverse=True)
    offsets = np.concatenate([[0], np.cumsum(pairs)])
    matrix = csr_matrix((counts, columns, offsets), shape=(len(pairs), len(used)))
    matrix.sum_duplicates()
    names, labels = np.unique(
        values[first] + 0.0,  # -0 is 0
        return_inverse=True,
    )
    start = 0 if len(used) and used[0] == 0 else 1
    return Source(
        {"train": SourceSplit(matrix, labels.astype(np.int64))},
        numbered_words(used),
        tuple(f"{name:.12g}" for name in names),
        (f"words are named by their ids, which count from {start}",),
    )


def _parse(text: str) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]] | None:
    """All numbers in their order, pairs of each document and its line; ``None`` if a line has another form."""
    if not text or text.isspace() or _NO_NUMBER.search(text):
        return None
    characters = np.frombuffer(text.encode(), dtype=np.uint8)
    blank = np.isin(characters, np.frombuffer(b" \t\n\r", dtype=np.uint8))
    starts = np.flatnonzero(~blank & np.concatenate([[True], blank[:-1]]))
    token_lines = np.searchsorted(np.flatnonzero(characters == ord("\n")), starts) + 1
    lines, first, sizes = np.unique(token_lines, return_index=True, return_counts=True)
    # Every token of a line but the first must have one colon: 'id:count'.
    colons = np.flatnonzero(characters == ord(":"))
    expected = np.ones(len(starts), dtype=np.int64)
    expected[first] = 0
    if not np.array_equal(
        np.bincount(np.searchsorted(starts, colons, side="right") - 1, minlength=len(starts)), expected
    ):
        return None
    try:
        values = np.array(text.replace(":", " ").split(), dtype=np.float64)
    except ValueError:
        return None
    pairs = sizes - 1
    if len(values) != len(lines) + 2 * pairs.sum() or not np.isfinite(values).all():
        return None
    return values, pairs, lines


def _first_bad_line(file: TextFile, text: str) -> ValueError:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not _LINE.fullmatch(line):
            remedy = "correct or remove the line; a document has one number as its label"
            return file.error(number, f"expected 'label id:count id:count ...', got {shown(line)}", remedy)
    return ValueError(f"{file.where} has no documents of the form 'label id:count id:count ...'; check its format")


READER = Reader(
    "FILE.svm",
    "SVMlight lines 'label word:count ...' (also .svmlight, .libsvm, .feat)",
    PackedCounts,
    read_svmlight,
    suffixes=(".svm", ".svmlight", ".libsvm", ".feat"),
)

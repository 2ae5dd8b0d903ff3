"""Sparse counts as SciPy stores them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, zipped
from benchmarks.siege.npy import members, npy
from benchmarks.siege.sources import (
    LIMIT,
    WORDS,
    Invalid,
    corpus,
    corpus_form,
    documents,
    ended,
    names,
    pick,
    table,
    text,
)

FIELDS = ("data", "row", "col", "indices", "indptr", "shape", "format")

COMPRESSED = ("csr", "csc")


def make(rng: np.random.Generator) -> Case:
    from scipy import sparse

    counts, form = table(rng), pick(rng, ("csr", "csr", "csc", "coo", "bsr", "dia"))
    matrix = sparse.csr_matrix(counts).asformat(form)
    arrays = {"shape": np.array(matrix.shape), "format": np.array(form.encode()), "data": matrix.data}
    fields = {"coo": ("row", "col"), "dia": ("offsets",)}.get(form, ("indices", "indptr"))
    arrays |= {name: getattr(matrix, name) for name in fields}
    arrays["data"] = arrays["data"].astype(pick(rng, ("<i8", "<f4", "<f8", "|u1" if counts.max() < 256 else "<i4")))
    parts = {f"{name}.npy": npy(rng, array) for name, array in arrays.items()}
    if rng.random() < 0.3:
        parts["/vocabulary.txt"] = ended(rng, WORDS[: counts.shape[1]])
    if rng.random() < 0.3:
        parts["/labels.txt"] = ended(rng, [pick(rng, ("x", "y")) for _ in counts])
    return Case(parts, "a.npz", zipped("a.npz"))


def entries(path: Path) -> tuple[list[tuple[int, int, float]], tuple[int, int]]:
    """Triples and shape of a stored matrix."""
    arrays = members(path, *FIELDS)
    form, shape = arrays["format"].item(), arrays["shape"]
    form = form.decode() if isinstance(form, bytes) else form
    fields = ("row", "col") if form == "coo" else ("indices", "indptr")
    data, first, second = (arrays[name].ravel() for name in ("data", *fields))
    if any(array.dtype.kind not in "ui" for array in (first, second, shape)) or shape.shape != (2,):
        raise Invalid("type")
    rows, columns = (int(size) for size in shape)
    places = [int(place) for place in first]
    if form == "coo":
        others = [int(place) for place in second]
    elif form in COMPRESSED:
        pointers = [int(place) for place in second]
        if len(pointers) != (rows if form == "csr" else columns) + 1 or pointers[0] or pointers[-1] != len(data):
            raise Invalid("pointers")
        if any(b < a for a, b in zip(pointers, pointers[1:], strict=False)):
            raise Invalid("pointers")
        others = [outer for outer in range(len(pointers) - 1) for _ in range(pointers[outer + 1] - pointers[outer])]
    else:
        raise Invalid("form")
    of = zip(others, places, data, strict=True) if form == "csr" else zip(places, others, data, strict=True)
    triples = [(row, column, float(value)) for row, column, value in of]
    if any(not (0 <= r < rows and 0 <= c < columns and 0 <= v <= LIMIT and v % 1 == 0) for r, c, v in triples):
        raise Invalid("an entry out of range")
    return triples, (rows, columns)


def parse(path: Path) -> object:
    triples, (rows, columns) = entries(path)
    beside = {name: path.with_name(name) for name in ("vocabulary.txt", "labels.txt")}
    found = {name: names(text(file), name[0] == "v") if file.is_file() else None for name, file in beside.items()}
    words, labels = found["vocabulary.txt"], found["labels.txt"]
    words = words if words else [f"word {i}" for i in range(columns)]
    labels = labels or None
    if len(words) != columns or (labels is not None and len(labels) != rows):
        raise Invalid("another number of names")
    return corpus({"train": documents(rows, triples, labels)}, words, sorted(set(labels or ())))


FORMS = (corpus_form("FILE.npz", make, parse),)

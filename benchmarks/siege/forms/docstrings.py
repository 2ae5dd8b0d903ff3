"""The cache of docstrings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, zipped
from benchmarks.siege.forms.csr import entries
from benchmarks.siege.npy import members, npy
from benchmarks.siege.sources import WORDS, Invalid, corpus, corpus_form, documents, table
from ppl_vae.data import Source
from ppl_vae.data.readers.docstrings import load_cached

KEY = "0123456789abcdef"


def make(rng: np.random.Generator) -> Case:
    from scipy import sparse

    matrix = sparse.csr_matrix(table(rng))
    labels = np.arange(matrix.shape[0]) % 2
    arrays = {
        "key": np.array(KEY),
        "format": np.array(b"csr"),
        "data": matrix.data,
        "indices": matrix.indices,
        "indptr": matrix.indptr,
        "shape": np.array(matrix.shape),
        "labels": labels,
        "titles": np.array([f"title {row}" for row in range(len(labels))]),
        "words": np.array(WORDS[: matrix.shape[1]]),
        "names": np.array(("one", "two")[: labels.max() + 1]),
    }
    return Case({f"{n}.npy": npy(rng, array) for n, array in arrays.items()}, "d.npz", zipped("d.npz"))


def read(path: Path) -> Source:
    source = load_cached(path, KEY)
    if source is None:
        raise ValueError(f"{path} is read as if it were not there; the packages are searched again")
    return source


def parse(path: Path) -> object:
    triples, (rows, columns) = entries(path)
    arrays = members(path, "key", "labels", "titles", "words", "names")
    titles, words, names = (arrays[name].tolist() for name in ("titles", "words", "names"))
    labels = [int(label) for label in arrays["labels"].tolist()]
    if arrays["key"].item() != KEY or len(words) != columns or not len(titles) == len(labels) == rows:
        raise Invalid("another key or number")
    if min(labels) < 0 or len(names) != max(labels) + 1 or any(value < 1 for *_, value in triples):
        raise Invalid("labels or counts")
    return corpus({"train": documents(rows, triples, [names[label] for label in labels], titles)}, words, names)


FORMS = (corpus_form("docstrings", make, parse, read),)

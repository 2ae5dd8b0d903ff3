"""AnnData's files, parsed by h5py with no checks but these."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.siege.case import Case
from benchmarks.siege.sources import Invalid, corpus, corpus_form, pick, table, tensors


def make(rng: np.random.Generator) -> Case:
    import h5py
    from scipy import sparse

    counts, form = table(rng), pick(rng, ("csr", "csc", "dense"))
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        if form == "dense":
            file["X"] = counts.astype(pick(rng, ("<f4", "<f8", "<i4")))
        else:
            matrix, group = sparse.csr_matrix(counts).asformat(form), file.create_group("X")
            group.attrs["encoding-type"], group.attrs["shape"] = f"{form}_matrix", np.array(counts.shape)
            for name in ("data", "indices", "indptr"):
                array = getattr(matrix, name)
                group.create_dataset(name, data=array.astype("<f4") if name == "data" else array)
        for name, size in (("obs", len(counts)), ("var", counts.shape[1])):
            group = file.create_group(name)
            group.attrs["_index"] = "_index"
            group["_index"] = [f"{name}{i}" for i in range(size)]
        if rng.random() < 0.5:
            kind = file["obs"].create_group("cell_type")
            kind["codes"], kind["categories"] = rng.integers(0, 2, len(counts)).astype("i1"), ["B cell", "T"]
    return Case({"a.h5ad": buffer.getvalue()}, "a.h5ad")


def parse(path: Path) -> object:
    import h5py

    with h5py.File(path, "r") as file:
        node: Any = file["X"]
        names, words = ([str(name) for name in file[f"{g}/_index"].asstr()[()].tolist()] for g in ("obs", "var"))
        if isinstance(node, h5py.Dataset):
            dense = node[()].astype(np.float64)
        else:
            shape = [int(size) for size in node.attrs["shape"]]
            dense = np.zeros(shape)
            data, places, pointers = (node[name][()].tolist() for name in ("data", "indices", "indptr"))
            rows = str(node.attrs["encoding-type"]) == "csr_matrix"
            wrong = pointers[0] or pointers[-1] != len(data) or len(pointers) != shape[not rows] + 1
            if wrong or min(places, default=0) < 0 or any(b < a for a, b in zip(pointers, pointers[1:], strict=False)):
                raise Invalid("pointers")
            for outer, (first, last) in enumerate(zip(pointers, pointers[1:], strict=False)):
                for value, place in zip(data[first:last], places[first:last], strict=True):
                    dense[(outer, place) if rows else (place, outer)] += value
        labels = None
        if "cell_type" in file["obs"]:
            codes, classes = file["obs/cell_type/codes"][()], file["obs/cell_type/categories"].asstr()[()]
            labels = [str(classes[code]) if code >= 0 else "missing" for code in codes.tolist()]
    if dense.shape != (len(names), len(words)) or not np.isfinite(dense.astype(np.float32)).all():
        raise Invalid("shape")
    split = tensors(dense.astype(np.float32), labels) | {"titles": names}
    return corpus({"train": split}, words, sorted(set(labels or ())))


FORMS = (replace(corpus_form("CELLS.h5ad", make, parse), needs="h5py"),)

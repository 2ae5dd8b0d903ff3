"""Arrays that are the arguments of a model."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, zipped
from benchmarks.siege.npy import members, npy, random_array
from benchmarks.siege.sources import Invalid, corpus, corpus_form, pick, tensors


def make(rng: np.random.Generator) -> Case:
    rows = int(rng.integers(1, 12))
    parts = {f"{name}.npy": npy(rng, random_array(rng, rows)) for name in ("x", "y", "z")[: int(rng.integers(1, 4))]}
    if rng.random() < 0.4:
        splits = ["train", *rng.choice(["train", "validation", "test"], rows - 1).tolist()]
        parts["split.npy"] = npy(rng, np.array(splits))
    return Case(parts, "a.npz", zipped("a.npz", pick(rng, (False, True))))


def column(array: np.ndarray) -> np.ndarray:
    """Numbers, a row for each datum."""
    if array.dtype.kind not in "buif" or array.ndim == 0 or array.size == 0:
        raise Invalid("no data")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            values = array.astype(np.float64).astype(np.float32)
        if not np.isfinite(values).all():
            raise Invalid("not finite")
        return values
    if array.dtype.kind != "b" and any(not -(2**63) <= int(value) < 2**63 for value in array.ravel()):
        raise Invalid("too large")
    return array.astype(bool if array.dtype.kind == "b" else np.int64)


def parse(path: Path) -> object:
    with zipfile.ZipFile(path) as archive:
        wanted = [name for name in archive.namelist() if not name.startswith("arr_")]
    arrays = members(path, *(name.removesuffix(".npy") for name in wanted)) if wanted else {}
    values = {name: column(array) for name, array in arrays.items() if name != "split"}
    if len({len(array) for array in arrays.values()}) != 1 or not values:
        raise Invalid("several lengths")
    splits = np.array(["train"] * len(next(iter(values.values()))))
    if "split" in arrays:
        if arrays["split"].ndim != 1 or arrays["split"].dtype.kind not in "US":
            raise Invalid("split")
        splits = arrays["split"].astype(str)
    if not {"train"} <= set(splits.tolist()) <= {"train", "validation", "test"}:
        raise Invalid("split")
    result = {}
    for name in ("train", "validation", "test"):
        if name in splits.tolist():
            part = {key: array[splits == name] for key, array in values.items()}
            result[name] = tensors(part if len(part) > 1 else next(iter(part.values())))
    return corpus(result)


FORMS = (corpus_form("COLUMNS.npz", make, parse),)

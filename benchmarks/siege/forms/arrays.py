"""Arrays: ``.npy``, and ``.npz`` by split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, compressed, unpacked, zipped
from benchmarks.siege.npy import members, npy, parsed, random_array
from benchmarks.siege.sources import Invalid, corpus, corpus_form, pick, tensors


def make_npy(rng: np.random.Generator) -> Case:
    content = npy(rng, random_array(rng, int(rng.integers(1, 12))))
    return compressed(rng, Case({"a.npy": content}, "a.npy"))


def make_npz(rng: np.random.Generator) -> Case:
    first = random_array(rng, int(rng.integers(1, 12)))
    parts = {"train.npy": npy(rng, first)}
    for name in ("validation", "test"):
        if rng.random() < 0.5:
            parts[f"{name}.npy"] = npy(rng, np.repeat(first[:1], int(rng.integers(1, 4)), 0))
    if rng.random() < 0.2:
        parts["other.npy"] = npy(rng, random_array(rng, 2))
    return Case(parts, "a.npz", zipped("a.npz", pick(rng, (False, True))))


def floats(array: np.ndarray) -> np.ndarray:
    """Finite 32-bit floats, ``(data, ...)``."""
    if array.dtype.kind not in "buif" or array.ndim == 0 or array.size == 0:
        raise Invalid("no data")
    with np.errstate(over="ignore"):
        values = np.array([float(value) for value in array.ravel()], np.float64).astype(np.float32)
    if not all(abs(value) < np.inf for value in values.tolist()):
        raise Invalid("not finite")
    return values.reshape(array.shape if array.ndim > 1 else (len(array), 1))


def parse_npy(path: Path) -> object:
    return corpus({"train": tensors(floats(parsed(unpacked(path))))})


def parse_npz(path: Path) -> object:
    values = {name: floats(array) for name, array in members(path, "train", "validation", "test").items()}
    if len({array.shape[1:] for array in values.values()}) > 1:
        raise Invalid("several shapes")
    return corpus({name: tensors(array) for name, array in values.items()})


FORMS = (corpus_form("FILE.npy", make_npy, parse_npy), corpus_form("ARRAYS.npz", make_npz, parse_npz))

"""Arrays by split, as Keras writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, zipped
from benchmarks.siege.npy import members, npy, random_array
from benchmarks.siege.sources import Invalid, corpus, corpus_form, pick, tensors

SPLITS = {"train": "train", "val": "validation", "test": "test"}


def make(rng: np.random.Generator) -> Case:
    images, parts, shape = rng.random() < 0.5, {}, (4, 4, int(pick(rng, (1, 3))))[: int(pick(rng, (2, 3)))]
    for split in ("train", "test", "val")[: int(rng.integers(1, 4))]:
        rows = int(rng.integers(1, 7))
        array = rng.integers(0, 256, (rows, *shape), np.uint8) if images else random_array(rng, rows, axes=0)
        if not images:
            array = array[:, None] * np.ones((1, 2), array.dtype)
        parts[f"x_{split}.npy"] = npy(rng, array)
        parts[f"y_{split}.npy"] = npy(rng, rng.integers(0, 12, rows).astype(pick(rng, ("|u1", "<i8"))))
    return Case(parts, "a.npz", zipped("a.npz", pick(rng, (False, True))))


def parse(path: Path) -> object:
    arrays = {name.lower(): array for name, array in members(path).items()}
    splits, labels = {}, {}
    for name, split in SPLITS.items():
        if f"x_{name}" not in arrays:
            continue
        array = arrays[f"x_{name}"]
        if array.dtype.kind not in "buif" or array.ndim == 0 or array.size == 0:
            raise Invalid("no data")
        bytes_of = array.dtype == np.uint8 and array.ndim in (3, 4)
        if bytes_of and array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3):
            array = np.moveaxis(array, 3, 1)
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(array, dtype=np.float32)
        values = values / np.float32(255) if bytes_of else values
        values = values[:, None] if values.ndim == 1 else values
        if not np.isfinite(values).all():
            raise Invalid("not finite")
        splits[split] = values
        if f"y_{name}" in arrays:
            labels[split] = arrays[f"y_{name}"]
    if "train" not in splits or len({values.shape[1:] for values in splits.values()}) > 1:
        raise Invalid("splits")
    every = {name: array for name, array in arrays.items() if name.startswith("y_") and name[2:] in SPLITS}
    good = len(every) == len(labels) == len(splits) and all(
        array.ndim and array.size == len(array) and array.dtype.kind in "uiUS" for array in labels.values()
    )
    flat = {split: [str(v) for v in np.ravel(array).astype(str)] for split, array in labels.items()} if good else {}
    if any(len(flat[split]) != len(splits[split]) for split in flat):
        raise Invalid("labels")
    known = {label for each in flat.values() for label in each}
    whole = all(array.dtype.kind in "ui" for array in labels.values())
    order = sorted(known, key=int) if good and whole else sorted(known)
    return corpus({split: tensors(values, flat.get(split)) for split, values in splits.items()}, (), order)


FORMS = (corpus_form("PAIRS.npz", make, parse),)

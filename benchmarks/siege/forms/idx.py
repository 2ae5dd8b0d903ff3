"""IDX files of bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, Parts, compressed, unpacked
from benchmarks.siege.sources import Invalid, corpus, corpus_form, tensors


def content(array: np.ndarray) -> bytes:
    """An IDX file of bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def images(rng: np.random.Generator, names: tuple[str, str], side: tuple[int, int], labels: bool = True) -> Parts:
    """Images and labels under two names."""
    values = rng.integers(256, size=(int(rng.integers(1, 8)), *side))
    parts = {names[0]: content(values)}
    return parts | {names[1]: content(rng.integers(0, 4, len(values)))} if labels else parts


def make(rng: np.random.Generator) -> Case:
    side = (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
    parts = images(rng, ("a-images-idx3-ubyte", "a-labels-idx1-ubyte"), side, rng.random() < 0.6)
    return _gzipped(rng, Case(parts, "a-images-idx3-ubyte"))


def make_folder(rng: np.random.Generator) -> Case:
    side = (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
    parts: Parts = {}
    for split in ("train", "t10k"):
        parts |= images(rng, (f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte"), side)
    return _gzipped(rng, Case(parts))


def _gzipped(rng: np.random.Generator, case: Case) -> Case:
    packed = compressed(rng, case)
    return case if any(name.endswith(".xz") for name in packed.pack(dict.fromkeys(case.parts, b""))) else packed


def array(path: Path, axes: int) -> np.ndarray:
    """The array of an IDX file."""
    path = path if path.is_file() else path.with_name(f"{path.name}.gz")
    data = unpacked(path)
    sizes = [int.from_bytes(data[start : start + 4], "big") for start in range(4, 4 + 4 * axes, 4)]
    values = list(data[4 + 4 * axes :])
    size = 1
    for each in sizes:
        size *= each
    if data[:4] != bytes([0, 0, 8, axes]) or len(values) != size or size == 0:
        raise Invalid("another size")
    return np.array(values, np.uint8).reshape(sizes)


def split(images: Path, labels: Path | None) -> tuple[np.ndarray, list[int] | None]:
    """Images in [0, 1], and labels."""
    values = array(images, 3)
    known = None if labels is None else array(labels, 1).tolist()
    if known is not None and len(known) != len(values):
        raise Invalid("another number of labels")
    return (values.astype(np.float32) / np.float32(255)).astype(np.float32), known


def of(parts: dict[str, tuple[np.ndarray, list[int] | None]]) -> object:
    """The corpus of images and labels by split."""
    known = [label for _, labels in parts.values() for label in labels or ()]
    if len({values.shape[1:] for values, _ in parts.values()}) > 1:
        raise Invalid("images of several sizes")
    splits = {name: tensors(x, None if ids is None else list(map(str, ids))) for name, (x, ids) in parts.items()}
    return corpus(splits, (), list(map(str, range(max(known) + 1))) if known else ())


def parse(path: Path) -> object:
    plain = path.with_name(path.name.removesuffix(".gz"))
    labels = plain.with_name("a-labels-idx1-ubyte")
    there = labels.is_file() or labels.with_name(f"{labels.name}.gz").is_file()
    return of({"train": split(plain, labels if there else None)})


def parse_folder(path: Path) -> object:
    names = {"train": "train", "test": "t10k"}
    return of({n: split(path / f"{p}-images-idx3-ubyte", path / f"{p}-labels-idx1-ubyte") for n, p in names.items()})


FORMS = (corpus_form("FILE-idx3-ubyte", make, parse), corpus_form("IDX/", make_folder, parse_folder))

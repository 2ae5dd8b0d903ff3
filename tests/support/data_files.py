"""Small files of the formats that readers read."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

from ppl_vae.data import Corpus, load_corpus

TABLE = np.array([[2, 0, 1], [0, 3, 0], [1, 1, 1], [4, 0, 0], [0, 1, 2]])
"""Five documents over three words."""

POINTS = np.arange(24.0).reshape(12, 2)


def read(path: Path) -> Corpus:
    """The corpus of a path, nothing held out for validation."""
    return load_corpus(str(path), validation=0)


def documents_of(corpus: Corpus) -> list[list[int]]:
    """All documents of a corpus, sorted."""
    return sorted([*corpus.train.values.to_csr().toarray().tolist(), *corpus.test.values.to_csr().toarray().tolist()])


def triplets(table: np.ndarray) -> str:
    """Lines ``document word count``."""
    return "".join(f"{i + 1} {j + 1} {table[i, j]}\n" for i, j in zip(*table.nonzero(), strict=True))


def idx(array: np.ndarray) -> bytes:
    """An IDX file of bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_digits(folder: Path, ending: str = "") -> dict[str, bytes]:
    """Twenty and ten images of noise in the layout of MNIST."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {}
    for split, count in (("train", 20), ("t10k", 10)):
        contents[f"{split}-images-idx3-ubyte"] = idx(rng.integers(256, size=(count, 28, 28), dtype=np.uint8))
        contents[f"{split}-labels-idx1-ubyte"] = idx(np.arange(count, dtype=np.uint8) % 10)
    for name, content in contents.items():
        (folder / f"{name}{ending}").write_bytes(gzip.compress(content) if ending else content)
    return contents

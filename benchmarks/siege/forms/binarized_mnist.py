"""Binarized MNIST, of fewer images than are published."""

from __future__ import annotations

import lzma
import os
from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, Parts, unpacked
from benchmarks.siege.sources import Invalid, corpus, corpus_form, read_source, tensors
from ppl_vae.data import Source
from ppl_vae.data.readers import binarized_mnist

SIZES = {"train": 3, "valid": 2, "test": 1}

SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def make(rng: np.random.Generator) -> Case:
    texts, parts = rng.random() < 0.5, {}
    for name, size in SIZES.items():
        bits = rng.integers(0, 2, (size, 784))
        lines = "".join(" ".join(map(str, row)) + "\n" for row in bits).encode()
        parts[f"binarized_mnist/binarized_mnist_{name}"] = lines if texts else np.packbits(bits).tobytes()
    return Case(parts, "", _named if texts else _packed)


def _named(parts: Parts) -> Parts:
    return {f"{name}.amat": content for name, content in parts.items()}


def _packed(parts: Parts) -> Parts:
    return {f"{name}.packbits.xz": lzma.compress(content, preset=0) for name, content in parts.items()}


def read(path: Path) -> Source:
    binarized_mnist._SIZES = SIZES
    os.environ["PPL_VAE_DATA"] = str(path)
    return read_source(Path("binarized_mnist"))


def parse(path: Path) -> object:
    result = {}
    for name, size in SIZES.items():
        plain = path / "binarized_mnist" / f"binarized_mnist_{name}.amat"
        if plain.is_file():
            digits = [c for c in plain.read_bytes().decode("latin-1") if c not in " \r\n"]
            if set(digits) - {"0", "1"}:
                raise Invalid("neither 0 nor 1")
            bits = [int(c) for c in digits]
        else:
            content = unpacked(plain.with_name(f"binarized_mnist_{name}.packbits.xz"))
            bits = [byte >> (7 - bit) & 1 for byte in content for bit in range(8)]
        result[SPLITS[name]] = tensors(np.array(bits, np.float32).reshape(size, 28, 28))
    return corpus(result)


FORMS = (corpus_form("binarized_mnist", make, parse, read),)

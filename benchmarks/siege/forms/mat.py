"""MATLAB's files of version 5, parsed by hand after the published format."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case
from benchmarks.siege.sources import Invalid, corpus, corpus_form, pick, tensors

KINDS = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
"""Types of numbers by their number in the file."""

CLASSES = {6: "<f8", 7: "<f4", 8: "<i1", 9: "<u1", 10: "<i2", 11: "<u2", 12: "<i4", 13: "<u4"}
"""Types of arrays."""


def make(rng: np.random.Generator) -> Case:
    from scipy.io import savemat

    buffer, variables = io.BytesIO(), {}
    splits = ("train", "test")[: int(rng.integers(1, 3))]
    for split in splits:
        rows = int(rng.integers(2, 7))
        array = rng.integers(0, 200, (rows, 3)).astype(pick(rng, ("<f8", "<f4", "<i4", "|u1")))
        variables[f"{split}_x"] = array
        variables[f"{split}_y"] = rng.integers(0, 3, (rows, 1)).astype("<i4")
    savemat(buffer, variables, do_compression=True)
    return Case({"a.mat": buffer.getvalue()}, "a.mat")


def _elements(content: bytes) -> list[tuple[int, bytes]]:
    """The elements of a stream: their types and contents."""
    found, place = [], 0
    while place < len(content):
        first, size = struct.unpack_from("<II", content, place)
        if first >> 16:  # a small one
            found.append((first & 0xFFFF, content[place + 4 : place + 4 + (first >> 16)]))
            place += 8
            continue
        if len(content) < place + 8 + size:
            raise Invalid("short")
        found.append((first, content[place + 8 : place + 8 + size]))
        place += 8 + size + (-size % 8 if first != 15 else 0)
    return found


def _array(content: bytes) -> tuple[str, np.ndarray]:
    (_, flags), (_, dims), (_, name), (kind, values) = _elements(content)
    shape = np.frombuffer(dims, "<i4")
    numbers = np.frombuffer(values, KINDS[kind]).astype(CLASSES[flags[0]])
    return name.decode(), numbers.reshape(shape, order="F")


def parse(path: Path) -> object:
    content = path.read_bytes()
    if len(content) < 128 or 0 in content[:4] or content[125:128] != b"\x01IM":
        raise Invalid("header")
    variables = {}
    for kind, packed in _elements(content[128:]):
        if kind != 15:
            raise Invalid("not compressed")
        (inner, array), *more = _elements(zlib.decompress(packed))
        if inner != 14 or more:
            raise Invalid("no array")
        name, values = _array(array)
        variables[name] = values
    splits = {}
    for split in ("train", "test"):
        if f"{split}_x" in variables:
            labels = [str(label) for label in variables[f"{split}_y"].reshape(-1)]
            splits[split] = tensors(variables[f"{split}_x"].astype(np.float32), labels)
    known = {str(label) for name, each in variables.items() if name.endswith("_y") for label in each.reshape(-1)}
    if "train" not in splits:
        raise Invalid("no data for training")
    return corpus(splits, (), sorted(known))


FORMS = (replace(corpus_form("FILE.mat", make, parse), needs="scipy"),)

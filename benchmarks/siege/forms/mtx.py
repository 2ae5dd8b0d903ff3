"""Matrix Market files, and folders of 10x Genomics."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, compressed
from benchmarks.siege.sources import (
    _NUMBER,
    Invalid,
    corpus,
    corpus_form,
    ended,
    lines_of,
    names,
    number,
    numbers,
    pick,
    table,
    tensors,
    text,
)


def lines(rng: np.random.Generator, counts: np.ndarray) -> list[str]:
    kind = pick(rng, ("real", "integer", "pattern"))
    entries = [f"{r + 1} {c + 1}" + ("" if kind == "pattern" else f" {counts[r, c]}") for r, c in np.argwhere(counts)]
    comments = ["% a comment"] * int(rng.integers(0, 2))
    sizes = f"{counts.shape[0]} {counts.shape[1]} {len(entries)}"
    return [f"%%MatrixMarket matrix coordinate {kind} general", *comments, sizes, *entries]


def make(rng: np.random.Generator) -> Case:
    counts = table(rng)
    parts = {"a.mtx": ended(rng, lines(rng, counts))}
    return compressed(rng, Case(parts, "a.mtx"))


def make_10x(rng: np.random.Generator) -> Case:
    counts = table(rng)
    genes = [f"E{i}\tG{i}\tGene Expression" for i in range(counts.shape[1])]
    parts = {
        "matrix.mtx": ended(rng, lines(rng, counts.T)),
        pick(rng, ("features.tsv", "genes.tsv")): ended(rng, genes),
        "barcodes.tsv": ended(rng, [f"c{i}" for i in range(len(counts))]),
    }
    return compressed(rng, Case(parts))


def dense(path: Path) -> np.ndarray:
    content = lines_of(text(path))
    header = re.fullmatch(
        r"%%MatrixMarket\s+matrix\s+coordinate\s+(real|integer|pattern)\s+general\s*", content[0], re.I
    )
    start = next(i for i, line in enumerate(content) if i and line.strip() and line[0] != "%")
    if header is None or any(not re.fullmatch("[0-9]+", size) for size in content[start].split()):
        raise Invalid("header")
    rows, columns, count = map(int, content[start].split())
    width = 2 if header[1].lower() == "pattern" else 3
    entries = numbers("\n".join(content[start + 1 :]), width)
    if len(entries) != count:
        raise Invalid("entries")
    result = np.zeros((rows, columns))
    for entry in entries:
        if width == 3 and not _NUMBER.fullmatch(entry[2]):
            raise Invalid("value")
        result[number(entry[0], 1, rows) - 1, number(entry[1], 1, columns) - 1] += 1 if width == 2 else float(entry[2])
    return result


def split(values: np.ndarray, titles: list[str]) -> dict[str, object]:
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise Invalid("not finite")
    return {"train": tensors(narrow) | {"titles": titles}}


def parse(path: Path) -> object:
    values = dense(path)
    words = [f"word {i + 1}" for i in range(values.shape[1])]
    return corpus(split(values, [f"row {i + 1}" for i in range(len(values))]), words)


def parse_10x(path: Path) -> object:
    files = {file.name.split(".")[0]: file for file in path.iterdir()}
    genes = [line.split("\t") for line in names(text(files.get("features", files.get("genes"))))]
    cells = [line.split("\t")[0] for line in names(text(files["barcodes"]))]
    symbols = [row[min(1, len(row) - 1)].strip() for row in genes]
    words = [s if symbols.count(s) == 1 else f"{s} {row[0].strip()}" for s, row in zip(symbols, genes, strict=True)]
    values = dense(files["matrix"]).T
    if values.shape != (len(cells), len(words)) or len(set(words)) < len(words):
        raise Invalid("names")
    return corpus(split(values, cells), words)


FORMS = (corpus_form("FILE.mtx", make, parse), corpus_form("10X/", make_10x, parse_10x))

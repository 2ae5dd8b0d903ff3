"""UCI's bags of words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, compressed
from benchmarks.siege.sources import (
    LIMIT,
    WORDS,
    Invalid,
    corpus,
    corpus_form,
    documents,
    ended,
    lines_of,
    names,
    number,
    numbers,
    table,
    text,
)


def make(rng: np.random.Generator) -> Case:
    counts = table(rng)
    rows, columns = counts.nonzero()
    lines = [f"{r + 1} {c + 1} {counts[r, c]}" for r, c in zip(rows, columns, strict=True)]
    head = [str(size) for size in (*counts.shape, len(lines))]
    parts = {"docword.kos.txt": ended(rng, head + lines)}
    if rng.random() < 0.6:
        parts["vocab.kos.txt"] = ended(rng, WORDS[: counts.shape[1]])
    return compressed(rng, Case(parts, "docword.kos.txt"))


def parse(path: Path) -> object:
    content = text(path)
    head = [line.strip() for line in (lines_of(content) + [""] * 3)[:3]]
    if not all(size.isascii() and size.isdecimal() and len(size) <= 10 for size in head):
        raise Invalid("header")
    rows, width, entries = (number(size, high=2**31 - 1) for size in head)
    triplets = [
        (number(r, 1, rows) - 1, number(c, 1, width) - 1, float(number(n)))
        for r, c, n in numbers("\n".join(lines_of(content)[3:]), 3)
    ]
    if len(triplets) != entries or width > LIMIT:
        raise Invalid("another number of triplets")
    places = [path.with_name(f"vocab.kos.txt{ending}") for ending in ("", ".gz")]
    beside = next((place for place in places if place.is_file()), None)
    words = [f"word {i}" for i in range(1, width + 1)] if beside is None else names(text(beside), distinct=True)
    if len(words) != width:
        raise Invalid("another number of words")
    return corpus({"train": documents(rows, triplets)}, words)


FORMS = (corpus_form("docword.NAME.txt", make, parse),)

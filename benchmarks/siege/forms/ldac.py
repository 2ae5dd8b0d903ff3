"""LDA-C."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, compressed
from benchmarks.siege.sources import (
    WORDS,
    Invalid,
    corpus,
    corpus_form,
    documents,
    ended,
    lines_of,
    names,
    pick,
    table,
    text,
)


def make(rng: np.random.Generator) -> Case:
    counts = table(rng)
    lines = [f"{(row > 0).sum()} {' '.join(f'{c}:{row[c]}' for c in row.nonzero()[0])}".strip() for row in counts]
    name = f"a{pick(rng, ('.ldac', '.dat', '.lda-c'))}"
    if rng.random() < 0.4:
        return Case({name: ended(rng, lines), "vocab.txt": ended(rng, WORDS[: counts.shape[1]])}, name)
    return compressed(rng, Case({name: ended(rng, lines)}, name))


def parse(path: Path) -> object:
    entries, rows = [], 0
    for line in lines_of(text(path)):
        cells = re.split("[ \t]+", line.strip(" \t"))
        if cells == [""]:
            continue
        if (
            any(not re.fullmatch("[0-9]{1,10}(:[0-9]{1,10})?", cell) for cell in cells)
            or int(cells[0]) != len(cells) - 1
        ):
            raise Invalid("line")
        for cell in cells[1:]:
            word, count = map(int, cell.split(":"))
            if count > 2**24:
                raise Invalid("count")
            entries.append((rows, word, float(count)))
        rows += 1
    width = max((word for _, word, _ in entries), default=-1) + 1
    beside = path.with_name("vocab.txt")
    words = names(text(beside), True) if beside.is_file() else []
    if not rows or (words and len(words) < width):
        raise Invalid("no documents, or too few words")
    return corpus({"train": documents(rows, entries)}, words or [f"word {i}" for i in range(width)])


FORMS = (corpus_form("FILE.ldac", make, parse),)

"""SVMlight."""

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
    documents,
    ended,
    lines_of,
    number,
    pick,
    table,
    text,
)


def make(rng: np.random.Generator) -> Case:
    counts, start = table(rng), int(pick(rng, (0, 1, 5, 2**20)))
    lines = []
    for row in counts:
        pairs = [f"{start + c}:{row[c]}" for c in row.nonzero()[0]]
        comment = " # a comment" if rng.random() < 0.1 else ""
        lines.append(" ".join([pick(rng, ("0", "1", "-1", "+1", "2.5")), *pairs]) + comment)
    return compressed(rng, Case({f"a{(e := pick(rng, ('.svm', '.libsvm')))}": ended(rng, lines)}, f"a{e}"))


def parse(path: Path) -> object:
    labels, pairs = [], []
    for line in lines_of(text(path)):
        cells = re.split("[ \t]+", line.partition("#")[0].strip(" \t"))
        if cells == [""]:
            continue
        if not _NUMBER.fullmatch(cells[0]) or not np.isfinite(float(cells[0])):
            raise Invalid("label")
        for cell in cells[1:]:
            word, count = cell.split(":")
            pairs.append((len(labels), number(word, high=2**31 - 1), float(number(count))))
        labels.append(float(cells[0]))
    if not labels:
        raise Invalid("no documents")
    ids = sorted({word for _, word, _ in pairs})
    column = {word: place for place, word in enumerate(ids)}
    entries = [(row, column[word], count) for row, word, count in pairs]
    known = sorted({label + 0.0 for label in labels})
    split = documents(len(labels), entries, [f"{label + 0.0:.12g}" for label in labels])
    return corpus({"train": split}, [f"word {word}" for word in ids], [f"{label:.12g}" for label in known])


FORMS = (corpus_form("FILE.svm", make, parse),)

"""Folders of texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case
from benchmarks.siege.forms.csv import of_texts, sentence
from benchmarks.siege.sources import Invalid, corpus_form, decoded, ended, pick


def make(rng: np.random.Generator) -> Case:
    folders = pick(rng, (("",), ("a/", "b/"), ("train/", "test/"), ("train/x/", "train/y/", "test/x/")))
    parts = {
        f"{folder}{number}.txt": ended(rng, [sentence(rng) for _ in range(int(rng.integers(0, 4)))])
        for folder in folders
        for number in range(int(rng.integers(1, 4)))
    }
    return Case(parts)


def parse(path: Path) -> object:
    files = sorted(path.rglob("*.txt"))
    inner = [file.relative_to(path).parts for file in files]
    split = any(parts[0] in ("train", "test") and len(parts) > 1 for parts in inner)
    splits = [parts[0] if split else "train" for parts in inner]
    classes = [parts[int(split) : -1] for parts in inner]
    if any(classes) and not all(classes):
        raise Invalid("a text without a class")
    labels = [each[0] for each in classes] if any(classes) else None
    texts = [decoded(file.read_bytes()) for file in files]
    return of_texts(texts, splits, labels, ["/".join(parts) for parts in inner])


FORMS = (corpus_form("FOLDER/", make, parse),)

"""The Matlab layout of 20 Newsgroups, as a folder and as an archive."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from benchmarks.siege.case import Case, Parts, compressed, tarred
from benchmarks.siege.sources import (
    LIMIT,
    WORDS,
    Invalid,
    corpus,
    corpus_form,
    decoded,
    documents,
    ended,
    lines_of,
    names,
    number,
    numbers,
    pick,
    table,
)


def files(rng: np.random.Generator) -> Parts:
    """The files of the layout."""
    classes, width = int(rng.integers(1, 4)), int(rng.integers(1, 8))
    parts: Parts = {}
    for split in ("train", "test"):
        counts = table(rng, words=width)
        triplets = [f"{r + 1} {c + 1} {counts[r, c]}" for r, c in zip(*counts.nonzero(), strict=True)]
        parts[f"{split}.data"] = ended(rng, triplets)
        parts[f"{split}.label"] = ended(rng, [str(rng.integers(1, classes + 1)) for _ in counts])
        if rng.random() < 0.4:
            parts[f"{split}.docs"] = ended(rng, [f"title {row}" for row in range(len(counts))])
    if rng.random() < 0.6:
        parts["train.map"] = ended(rng, [f"{WORDS[c]} {c + 1}" for c in range(classes)])
    if rng.random() < 0.6:
        parts["vocabulary.txt"] = ended(rng, WORDS[:width])
    return parts


def make_folder(rng: np.random.Generator) -> Case:
    case = compressed(rng, Case(files(rng)))
    return Case(case.parts) if any(name.endswith(".xz") for name in case.pack(case.parts)) else case


def make_archive(rng: np.random.Generator) -> Case:
    folder, compress = pick(rng, (*("", "a/", "./a/", "a/b/c/") * 8, "../", "/")), rng.random() < 0.7
    parts = {f"{folder}{name}": content for name, content in files(rng).items()}
    kinds = {}
    if rng.random() < 0.05:
        kinds = {
            pick(rng, list(parts)): pick(rng, (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE))
        }
    name = "a.tgz" if compress else "a.tar"
    return Case(parts, name, tarred(name, compress, kinds))


def in_folder(path: Path) -> Callable[[str], str | None]:
    """Function from the name of a file to its text."""

    def read(name: str) -> str | None:
        for ending, uncompressed in (("", bytes), (".gz", gzip.decompress)):
            if (path / f"{name}{ending}").is_file():
                return decoded(uncompressed((path / f"{name}{ending}").read_bytes()))
        return None

    return read


def in_archive(path: Path) -> Callable[[str], str | None]:
    """Function from the name of a member to its text; the last of several counts."""
    content = path.read_bytes()
    found = {}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content) if path.suffix == ".tgz" else content)) as archive:
        for member in archive.getmembers():
            parts = PurePosixPath(member.name).parts
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or {"/", ".."} & set(parts):
                raise Invalid("a link, a device or a path that leads elsewhere")
            if member.isfile() and parts:
                body = archive.extractfile(member).read()  # type: ignore[union-attr]
                name = parts[-1].removesuffix(".gz")
                if name in found and name.startswith(("train.", "test.", "vocabulary.")):
                    raise Invalid("a member twice")
                found[name] = gzip.decompress(body) if parts[-1].endswith(".gz") else body
    return lambda name: decoded(found[name]) if name in found else None


def parse(read: Callable[[str], str | None]) -> object:
    words = None if (vocabulary := read("vocabulary.txt")) is None else names(vocabulary, distinct=True)
    classes = None
    if (known := read("train.map")) is not None:
        rows = [line.split() for line in lines_of(known)]
        if not rows or any(row[1:] != [str(place)] for place, row in enumerate(rows, 1)):
            raise Invalid("map")
        classes = [row[0] for row in rows]
    parts, highest, width = {}, 0, 0
    for split in ("train", "test"):
        data, label, title = (read(f"{split}.{ending}") for ending in ("data", "label", "docs"))
        if data is None or label is None:
            raise Invalid("a file is missing")
        cells = numbers(label, 1)
        labels = [number(cell, 1, len(classes) if classes else len(cells)) for (cell,) in cells]
        limit = LIMIT if words is None else len(words)
        triplets = [
            (number(r, 1, len(labels)) - 1, number(c, 1, limit) - 1, float(number(n))) for r, c, n in numbers(data, 3)
        ]
        titles = None if title is None else names(title)
        if titles is not None and len(titles) != len(labels):
            raise Invalid("titles")
        parts[split] = (triplets, labels, titles)
        highest, width = max([highest, *labels]), max([width, *(c + 1 for _, c, _ in triplets)])
    label_names = classes or [f"class {i}" for i in range(1, highest + 1)]
    splits = {
        split: documents(len(labels), triplets, [label_names[label - 1] for label in labels], titles)
        for split, (triplets, labels, titles) in parts.items()
    }
    return corpus(splits, words or [f"word {i}" for i in range(1, width + 1)], label_names)


FORMS = (
    corpus_form("MATLAB/", make_folder, lambda path: parse(in_folder(path))),
    corpus_form("MATLAB.tgz", make_archive, lambda path: parse(in_archive(path))),
)

"""Corpora under siege: what a reader gives in one comparable form, and the pieces of independent parses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.siege.case import Form, unpacked
from ppl_vae.data import Source, load, load_corpus

__all__ = [
    "Invalid",
    "corpus_form",
    "documents",
    "names",
    "number",
    "numbers",
    "pick",
    "read_source",
    "tensors",
    "text",
]


class Invalid(Exception):
    """What an independent parse raises: the file is not valid."""


LIMIT = 2**24

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

WORDS = ("ant", "bee", "cat", "straße", "дом", "数据", "naïve", "ab", "ελα", "word", "the", "of")
"""Words of valid files."""

_seen: list[Source] = []
_prepare, _scan = load.prepare, load._scan
_scanned = cache(_scan)


def _noticed(name: str, source: Source, **options: Any) -> object:
    _seen.append(source)
    return _prepare(name, source, **options)


def read_source(path: Path, **options: Any) -> Source:
    """What the reader of a path gives, before data are held out; that must work or be refused in words, too."""
    load.prepare, load._scan = _noticed, _scanned  # type: ignore[assignment]
    _seen.clear()
    try:
        load_corpus(str(path), validation=0.1, **options)
    except ValueError:
        if not _seen:
            raise
        _refused_later(path)
    finally:
        load.prepare, load._scan = _prepare, _scan
    return _seen.pop()


def _refused_later(path: Path) -> None:
    """Lets pass that too few data are left to be held out, which the comparison of what was read follows."""
    import sys

    error = sys.exc_info()[1]
    if type(error) is not ValueError or not re.search("is left for|of the same kind", str(error)):
        assert error is not None
        raise error


def comparable(source: Source) -> dict[str, object]:
    """A source as lists, dictionaries and arrays."""
    splits: dict[str, object] = {}
    for name, split in source.splits.items():
        if isinstance(split.values, (np.ndarray, dict)):
            values: object = split.values
        else:
            coo = split.counts.tocoo()
            triples = zip(coo.row.tolist(), coo.col.tolist(), coo.data.tolist(), strict=True)
            values = [coo.shape[0], sorted((r, c, float(v)) for r, c, v in triples if v)]
        labels = None if split.labels is None else [source.label_names[label] for label in split.labels.tolist()]
        splits[name] = {"values": values, "labels": labels, "titles": split.titles and list(split.titles)}
    return {"words": list(source.words), "labels": list(source.label_names), "splits": splits}


def corpus_form(
    name: str, make: Callable[..., Any], parse: Callable[[Path], object], read: Callable[[Path], Source] = read_source
) -> Form:
    """A form that a reader of corpora reads."""
    return Form(name, make, lambda path: comparable(read(path)), parse)


def documents(
    rows: int, entries: Iterable[tuple[int, int, float]], labels: list[str] | None = None, titles: object = None
) -> dict[str, object]:
    """A split of documents from triples of row, column and count; those of one place are added."""
    total: dict[tuple[int, int], float] = {}
    for row, column, count in entries:
        total[row, column] = total.get((row, column), 0.0) + count
    values = [rows, sorted((*place, count) for place, count in total.items() if count)]
    return {"values": values, "labels": labels, "titles": titles}


def tensors(values: object, labels: list[str] | None = None) -> dict[str, object]:
    """A split of tensors."""
    return {"values": values, "labels": labels, "titles": None}


def corpus(splits: dict[str, Any], words: Sequence[str] = (), labels: Sequence[str] = ()) -> dict[str, object]:
    """All of a corpus."""
    return {"words": list(words), "labels": list(labels), "splits": splits}


def text(path: Path) -> str:
    """A text, uncompressed by its ending, with the line ends of any system."""
    return decoded(unpacked(path))


def decoded(content: bytes) -> str:
    """UTF-8 with or without a byte order mark, and the line ends of any system."""
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def lines_of(content: str) -> list[str]:
    """Lines, of which the last needs no end."""
    lines = content.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def names(content: str, distinct: bool = False) -> list[str]:
    """A name a line."""
    found = [line.strip() for line in lines_of(content)]
    if "" in found or distinct and len(set(found)) < len(found):
        raise Invalid("blank or repeated name")
    return found


def number(token: str, low: int = 0, high: int = LIMIT) -> int:
    """A whole number of a text."""
    if not _NUMBER.fullmatch(token) or not low <= float(token) <= high or float(token) % 1:
        raise Invalid(f"{token!r} is no whole number in [{low}, {high}]")
    return int(float(token))


def numbers(content: str, columns: int) -> list[list[str]]:
    """Rows of a table of blank-separated cells."""
    rows = [cells for line in lines_of(content) if (cells := line.split())]
    if any(len(cells) != columns for cells in rows):
        raise Invalid("another number of columns")
    return rows


def pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    """One of several."""
    return choices[int(rng.integers(len(choices)))]


def table(rng: np.random.Generator, rows: int = 12, words: int = 8) -> np.ndarray:
    """Counts of a few documents, some of them empty, some counts large."""
    counts = rng.poisson(0.8, (int(rng.integers(1, rows + 1)), int(rng.integers(1, words + 1))))
    if rng.random() < 0.2:
        counts.flat[rng.integers(counts.size)] = pick(rng, (10, 1000, 2**24))
    return counts


def ended(rng: np.random.Generator, lines: Iterable[str]) -> bytes:
    """Lines as one of several systems ends them, the last perhaps without an end."""
    end = pick(rng, ("\n", "\n", "\n", "\r\n", "\r"))
    content = end.join(lines) + (end if rng.random() < 0.9 else "")
    return (b"\xef\xbb\xbf" if rng.random() < 0.1 else b"") + content.encode()

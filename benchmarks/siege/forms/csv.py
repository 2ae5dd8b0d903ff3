"""Tables of texts, and what a word of a text is."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, compressed
from benchmarks.siege.sources import WORDS, Invalid, corpus, corpus_form, documents, ended, pick, text


def sentence(rng: np.random.Generator) -> str:
    """A few words, perhaps none, with other characters between them."""
    pieces = [pick(rng, WORDS) for _ in range(int(rng.integers(0, 7)))]
    return pick(rng, (" ", " ", ", ", "-", "_7 ", " \u2028", " x ")).join(pieces)


def quoted(rng: np.random.Generator, cell: str, separator: str) -> str:
    needed = separator in cell or '"' in cell or "\n" in cell
    return '"' + cell.replace('"', '""') + '"' if needed or rng.random() < 0.3 else cell


SPLITS = {"train": "train", "Training": "train", "val": "validation", "validation": "validation", "dev": "validation"}
SPLITS |= {"test": "test", "testing": "test"}
NAMES = {name.lower(): split for name, split in SPLITS.items()} | {"valid": "validation", "eval": "validation"}
NAMES |= {"development": "validation", "trn": "train", "tst": "test"}


def make(rng: np.random.Generator) -> Case:
    ending, separator = pick(rng, ((".csv", ","), (".csv", ","), (".tsv", "\t"), (".csv", ";"), (".tsv", "|")))
    header = rng.random() < 0.85
    columns = ["text"] + [name for name in ("label", "split", "other") if rng.random() < 0.5]
    if not header:
        columns = ["text", "split", "label"][: int(rng.integers(2, 4))]
    rng.shuffle(columns)
    lines = [separator.join(columns)] * header
    for _ in range(int(rng.integers(1, 9))):
        row = {"text": sentence(rng), "label": pick(rng, ("a", "b c", "ü")), "other": sentence(rng)}
        row["text"] += pick(rng, ("", "", "", ' say "hi"', "\nnext line", "; more"))
        row["split"] = pick(rng, ("train", "train", *SPLITS))
        lines.append(separator.join(quoted(rng, row[name], separator) for name in columns))
    return compressed(rng, Case({f"t{ending}": ended(rng, lines)}, f"t{ending}"))


def cells_of(content: str, separator: str) -> list[list[str]]:
    """Rows of cells by RFC 4180, where a quote within a cell that does not begin with one is a quote."""
    rows: list[list[str]] = []
    row: list[str] = []
    place = 0
    while place < len(content):
        if content[place] == '"':
            cell = ""
            place += 1
            while True:
                end = content.find('"', place)
                if end < 0:
                    raise Invalid("a quote is not closed")
                cell += content[place:end]
                place = end + 1
                if content[place : place + 1] != '"':
                    break
                cell += '"'
                place += 1
            if content[place : place + 1] not in ("", separator, "\n"):
                raise Invalid("text after a closing quote")
        elif content[place] == "\n" and not row:
            place += 1  # a blank line
            continue
        else:
            ends = [found for mark in (separator, "\n") if (found := content.find(mark, place)) >= 0]
            end = min(ends, default=len(content))
            cell, place = content[place:end], end
        row.append(cell)
        mark = content[place : place + 1]
        place += 1
        if mark == separator:
            if place == len(content):
                row.append("")
            continue
        rows.append(row)
        row = []
    return [*rows, row] if row else rows


def words_of(content: str) -> list[str]:
    """Two or more letters or numbers other than decimal digits."""
    joined = "".join(c if c.isalnum() and not c.isdecimal() else " " for c in content.lower())
    return [word for word in joined.split(" ") if len(word) > 1]


def counted(texts: list[str]) -> tuple[list[str], list[tuple[int, int, float]]]:
    """The words of texts, sorted, and an entry for each occurrence."""
    found = [words_of(each) for each in texts]
    words = sorted({word for each in found for word in each})
    column = {word: place for place, word in enumerate(words)}
    return words, [(row, column[word], 1.0) for row, each in enumerate(found) for word in each]


def header_of(content: str, usual: str) -> tuple[str, list[str]]:
    """The separator, and the first row where it is a header."""
    first = next((line for line in content.split("\n") if line.strip()), "")
    for separator in (usual, ",", ";", "\t", "|"):
        row = next(csv.reader([first], delimiter=separator), [])
        if "text" in (header := [cell.strip().lower() for cell in row]):
            return separator, header
    return usual, []


def parse(path: Path) -> object:
    content = text(path)
    separator, header = header_of(content, "\t" if ".tsv" in path.name else ",")
    rows = cells_of(content, separator)
    if any(len(row) != len(rows[0]) for row in rows):
        raise Invalid("another number of columns")
    if header and [cell.strip().lower() for cell in rows[0]] != header:
        raise Invalid("a header of several lines")
    if any(header.count(name) > 1 for name in ("text", "label", "split")):
        raise Invalid("a column twice")
    if not header and len(rows[0]) == 1:
        header = ["text"]
    if header:
        place = {name: header.index(name) for name in ("text", "label", "split") if name in header}
        rows = rows[1:]
    else:
        width = range(len(rows[0]))
        split = [i for i in width if all(row[i].strip().lower() in NAMES for row in rows)]
        if len(split) != 1 or len(width) > 3:
            raise Invalid("no column of texts")
        rest = sorted(set(width) - set(split), key=lambda i: -sum(len(row[i]) for row in rows))
        place = dict(zip(("text", "label"), rest, strict=False)) | {"split": split[0]}
    if not rows:
        raise Invalid("no documents")
    texts = [row[place["text"]] for row in rows]
    splits = [NAMES[row[place["split"]].strip().lower()] if "split" in place else "train" for row in rows]
    labels = [row[place["label"]].strip() for row in rows] if "label" in place else None
    if "train" not in splits or (labels and "" in labels):
        raise Invalid("split or label")
    return of_texts(texts, splits, labels)


def of_texts(texts: list[str], splits: list[str], labels: list[str] | None, titles: list[str] | None = None) -> object:
    """A corpus of texts."""
    words, entries = counted(texts)
    found = {}
    for split in dict.fromkeys(splits):
        rows = [row for row, name in enumerate(splits) if name == split]
        new = {row: place for place, row in enumerate(rows)}
        part = [(new[row], column, count) for row, column, count in entries if row in new]
        own = None if labels is None else [labels[row] for row in rows]
        found[split] = documents(len(rows), part, own, titles and [titles[row] for row in rows])
    return corpus(found, words, sorted(set(labels or ())))


FORMS = (corpus_form("FILE.csv", make, parse),)

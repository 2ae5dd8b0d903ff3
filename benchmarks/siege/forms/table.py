"""Tables of numbers with names of columns."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from benchmarks.siege.case import Case, compressed
from benchmarks.siege.forms import csv as texts
from benchmarks.siege.forms.csv import NAMES, cells_of, quoted
from benchmarks.siege.sources import Invalid, corpus, corpus_form, documents, ended, pick, read_source, tensors, text

ABSENT = {"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "<NA>", "?"}

LABELS = {"label", "labels", "class", "target", "species", "cell_type"}


def make(rng: np.random.Generator) -> Case:
    ending, separator = pick(rng, ((".csv", ","), (".csv", ","), (".tsv", "\t"), (".csv", ";"), (".csv", "|")))
    rows, width = int(rng.integers(1, 9)), int(rng.integers(1, 6))
    whole = rng.random() < 0.4
    numbers = rng.poisson(1.5, (rows, width)) if whole else 10 * rng.standard_normal((rows, width))
    columns = {
        f"gene {i}" if rng.random() < 0.8 else f"{i}x": [
            pick(rng, ("{}", "{}", "{:.3g}", "{:+.2e}")).format(value) for value in numbers[:, i].tolist()
        ]
        for i in range(width)
    }
    if rng.random() < 0.3:
        columns = {pick(rng, ("", "cell")): [f"c{i}" for i in range(rows)]} | columns
    if rng.random() < 0.4:
        columns[pick(rng, ("label", "Species", "kind"))] = [pick(rng, ("x", "y z", "ü")) for _ in range(rows)]
    if rng.random() < 0.2:
        columns["split"] = [pick(rng, ("train", "Train", "val", "test")) for _ in range(rows)]
    table = list(zip(*columns.values(), strict=True))
    if rng.random() < 0.9:
        table = [tuple(columns), *table]
    if separator == ";" and rng.random() < 0.5:
        table = [tuple(cell.replace(".", ",") for cell in row) for row in table]
    lines = [separator.join(quoted(rng, cell, separator) for cell in row) for row in table]
    return compressed(rng, Case({f"t{ending}": ended(rng, lines)}, f"t{ending}"))


def is_number(cell: str) -> bool:
    return cell in ABSENT or re.fullmatch(r"[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)([eE][+-]?[0-9]+)?", cell) is not None


def parse(path: Path) -> object:
    """Counts where all columns of numbers are counts, else numbers: as :func:`read` asks for them."""
    content = text(path)
    first = next((line for line in content.split("\n") if line.strip()), "")
    order = ("\t", ",", ";", "|") if ".tsv" in path.name else (",", ";", "\t", "|")
    separator = max(order, key=first.count)
    rows = [[cell.strip() for cell in row] for row in cells_of(content, separator) if "".join(row).strip() or row[1:]]
    if not rows:
        raise Invalid("empty")
    head = rows[0]
    header = not all(map(is_number, head)) or not set(head) - ABSENT
    body = rows[header:]
    names = head if header else [f"column {i + 1}" for i in range(len(head))]
    if header and body and len(names) == len(body[0]) - 1:
        names = ["", *names]
    if body and max(map(len, body)) != len(names):
        return texts.parse(path)
    columns = list(zip(*(row for row in body if len(row) == len(names)), strict=True))
    pairs = zip(names, columns, strict=False)
    numeric = [name != "" and all(map(is_number, column)) and any(column) for name, column in pairs]
    others = [col for col, n in zip(columns, numeric, strict=True) if not n]
    kinds = sum(sum(numeric) > 1 and 2 * len(set(col)) <= len(col) for col in others)
    wordy = [sum(len(c.split()) for c in col) >= 4 * len(col) for col in others]
    if (
        not columns
        or "text" in map(str.lower, names)
        or not any(numeric)
        or 2 * sum(numeric) < len(names) - kinds - 1
        or any(wordy)
    ):
        return texts.parse(path)
    if "\0" in content or any(len(row) != len(names) for row in body) or len(set(names)) < len(names):
        raise Invalid("another number of cells")
    cells = [c for col, n in zip(columns, numeric, strict=True) if n for c in col]
    comma = any("," in c for c in cells) and not any("." in c for c in cells)
    values, label, split, titles, others = {}, None, None, None, []
    for place, (name, column, number) in enumerate(zip(names, columns, numeric, strict=True)):
        numbers = (
            np.array([np.nan if c in ABSENT else float(c.replace(",", ".") if comma else c) for c in column])
            if number
            else None
        )
        whole = numbers is not None and np.isfinite(numbers).all() and not (numbers % 1).any()
        if not number and name.lower() in ("split", "partition"):
            split = column
        elif label is None and name.lower() in LABELS and (not number or whole):
            label = [f"{v:g}" for v in numbers.tolist()] if numbers is not None else list(column)
            if numbers is not None and not any(set(".,eE") & set(c) for c in column):
                label = [str(int(v)) for v in numbers.tolist()]
        elif place == 0 and (not name or not number and len(set(column)) == len(column)):
            titles = list(column)
        elif numbers is None:
            others.append(column)
        else:
            values[name] = numbers
    if label is None and len(others) == 1 and 2 * len(set(others[0])) <= len(body):
        label = list(others[0])
    with np.errstate(over="ignore"):
        matrix = np.stack(list(values.values()), 1).astype(np.float32)
    if not np.isfinite(matrix).all() or (label and "" in label):
        raise Invalid("missing")
    splits = ["train"] * len(body) if split is None else [NAMES[each.lower()] for each in split]
    if "train" not in splits:
        raise Invalid("no training data")
    found = {}
    for name in dict.fromkeys(splits):
        rows_of = [row for row, each in enumerate(splits) if each == name]
        own = None if label is None else [label[row] for row in rows_of]
        part = matrix[rows_of]
        found[name] = tensors(part, own) | {"titles": titles and [titles[row] for row in rows_of]}
        if counted(path):
            entries = [(r, c, float(v)) for (r, c), v in np.ndenumerate(part)]
            found[name] |= {"values": documents(len(part), entries)["values"]}
    return corpus(found, list(values), sorted(set(label or ())))


def counted(path: Path) -> bool:
    """Whether a file is read as counts: some are, by their size."""
    return path.stat().st_size % 3 == 0


def read(path: Path) -> object:
    """The table as numbers or as counts."""
    from ppl_vae.data import find_reader

    options = {"counts": True} if find_reader(str(path)).name == "TABLE.csv" and counted(path) else {}
    return read_source(path, **options)


FORMS = (corpus_form("TABLE.csv", make, parse, read),)

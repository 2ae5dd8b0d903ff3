"""Tables of texts: CSV and TSV."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.folders import split_named
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.separated import SEPARATORS, rows_of, separator_of
from ppl_vae.data.source import Source, SplitName
from ppl_vae.data.text_file import TextFile, plain_name, shown, unquoted
from ppl_vae.data.tokens import from_texts

__all__ = ["READER"]

Rows = list[tuple[int, list[str]]]


@dataclass(frozen=True)
class _Columns:
    """Where the parts of a document stand in a row."""

    text: int
    label: int | None = None
    split: int | None = None
    header: bool = True
    notes: tuple[str, ...] = ()


def read_table(path: Path) -> Source:
    """Reads one document a row, from the column ``text`` or, in a table of one column, from that.

    A column ``label`` gives the class, and a column ``split`` one of ``train``, ``validation`` and ``test``; other
    columns are passed over. Cells are separated by commas, semicolons, tabs or bars, as the header shows. Without a
    header, of two or three columns one must be of splits: the longer of the others is the text, as OCTIS writes them.

    Raises:
        ValueError: If a row has another number of columns than the header, a quote is not closed, a label is missing
            or a split is unknown.
    """
    file = TextFile.open(path)
    usual = "\t" if plain_name(path).endswith(".tsv") else ","
    separator = separator_of(file, usual, lambda cells: "text" in cells)
    rows = list(rows_of(file, separator))
    columns = _columns(file, rows, separator)
    if len(rows) < 1 + columns.header:
        raise ValueError(f"{path} needs a header line and at least one document, has {len(rows)} rows; add documents")
    labels: list[str] | None = None if columns.label is None else []
    texts: list[str] = []
    splits: list[SplitName] = []
    for line, row in rows[columns.header :]:
        if len(row) != len(rows[0][1]):
            raise file.error(
                line,
                f"{len(row)} columns where the {'header' if columns.header else 'first row'} has {len(rows[0][1])}",
                "quote texts that hold the separator",
            )
        split = "train" if columns.split is None else split_named(row[columns.split])
        if split is None:
            raise file.error(line, f"split {shown(row[columns.split or 0].strip())}", "use train, validation or test")
        splits.append(split)
        texts.append(row[columns.text])
        if labels is not None and columns.label is not None:
            labels.append(row[columns.label].strip())
            if not labels[-1]:
                raise file.error(line, "no label", "give every document one, or leave the column out")
    return replace(from_texts(str(path), texts, splits, labels, None), notes=columns.notes)


def _columns(file: TextFile, rows: Rows, separator: str) -> _Columns:
    header = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    if twice := [name for name in ("text", "label", "split") if header.count(name) > 1]:
        raise file.error(1, f"two columns {twice[0]!r}", "leave one of them out")
    if "text" in header:
        label, split = (header.index(name) if name in header else None for name in ("label", "split"))
        return _Columns(header.index("text"), label, split)
    if len(header) <= 1:
        notes = (f"the first line, {rows[0][1][0][:60]!r}, was taken as the header",) if rows else ()
        return _Columns(0, notes=notes)
    found = _without_header(rows) if len(header) <= 3 else None
    if found is None:
        raise file.error(
            1,
            f"no column 'text' among {unquoted(', '.join(header))}, separated by {SEPARATORS[separator]}",
            "name the column with the documents 'text', or add a first line with the names of the columns",
        )
    return found


def _without_header(rows: Rows) -> _Columns | None:
    """Columns of a table without a header, of which one holds nothing but names of splits."""
    width = len(rows[0][1])
    if any(len(row) != width for _, row in rows):
        return None
    splits = [place for place in range(width) if all(split_named(row[place]) for _, row in rows)]
    if len(splits) != 1:
        return None
    others = [place for place in range(width) if place not in splits]
    others.sort(key=lambda place: -sum(len(row[place]) for _, row in rows))
    label = others[1] if len(others) > 1 else None
    which = f"column {others[0] + 1} is the text, {splits[0] + 1} the split" + (
        "" if label is None else f", {label + 1} the label"
    )
    return _Columns(others[0], label, splits[0], False, (f"the table has no header: {which}",))


READER = Reader(
    "FILE.csv",
    "a table with a column 'text' and perhaps 'label' and 'split' (also .tsv, and semicolons)",
    PackedCounts,
    read_table,
    suffixes=(".csv", ".tsv"),
    fallback=True,
)

"""Tables of texts: CSV and TSV with a header line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import cast, get_args

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source, SplitName
from ppl_vae.data.text_file import TextFile, plain_name, shown, unquoted
from ppl_vae.data.tokens import from_texts

__all__ = ["READER"]


def read_table(path: Path) -> Source:
    """Reads one document a row, from the column ``text`` or, in a table of one column, from that.

    A column ``label`` gives the class, and a column ``split`` one of ``train``, ``validation`` and ``test``; other
    columns are passed over.

    Raises:
        ValueError: If a row has another number of columns than the header, a quote is not closed, a label is missing
            or a split is unknown.
    """
    file = TextFile.open(path)
    rows = list(_rows(file, "\t" if plain_name(path).endswith(".tsv") else ","))
    if len(rows) < 2:
        raise ValueError(f"{path} needs a header line and at least one document, has {len(rows)} rows; add documents")
    header = [cell.strip().lower() for cell in rows[0][1]]
    notes: tuple[str, ...] = ()
    if twice := [name for name in ("text", "label", "split") if header.count(name) > 1]:
        raise file.error(1, f"two columns {twice[0]!r}", "leave one of them out")
    if "text" in header:
        column = header.index("text")
    elif len(header) == 1:
        column = 0
        notes = (f"the first line, {rows[0][1][0][:60]!r}, was taken as the header",)
    else:
        raise file.error(
            1, f"no column 'text' among {unquoted(', '.join(header))}", "name the column with the documents 'text'"
        )
    labels: list[str] | None = [] if "label" in header else None
    texts: list[str] = []
    splits: list[SplitName] = []
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise file.error(
                line, f"{len(row)} columns where the header has {len(header)}", "quote texts that hold the separator"
            )
        split = row[header.index("split")].strip() if "split" in header else "train"
        if split not in get_args(SplitName):
            raise file.error(line, f"split {shown(split)}", f"use one of {', '.join(get_args(SplitName))}")
        splits.append(cast(SplitName, split))
        texts.append(row[column])
        if labels is not None:
            labels.append(row[header.index("label")].strip())
            if not labels[-1]:
                raise file.error(line, "no label", "give every document one, or leave the column out")
    source = from_texts(str(path), texts, splits, labels, None)
    return Source(source.splits, source.words, source.label_names, notes)


def _rows(file: TextFile, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the line each ends in."""
    # The csv module's limit on the size of a cell is global and below the length of a long document.
    limit = csv.field_size_limit(max(len(file.text), csv.field_size_limit()))
    try:
        reader = csv.reader(io.StringIO(file.text, newline=""), delimiter=separator, strict=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                problem = (
                    "text after a closing quote" if "expected after" in str(error) else "a quote that is not closed"
                )
                raise file.error(reader.line_num, problem, "close every quote, and double those in a text") from None
            if row:
                yield reader.line_num, row
    finally:
        csv.field_size_limit(limit)


READER = Reader(
    "FILE.csv",
    "a table with a column 'text' and perhaps 'label' and 'split' (also .tsv)",
    PackedCounts,
    read_table,
    suffixes=(".csv", ".tsv"),
)

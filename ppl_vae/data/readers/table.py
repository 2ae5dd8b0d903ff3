"""Tables of numbers: CSV and TSV, with or without a header and names of rows."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.fields import table_or_fields
from ppl_vae.data.layout import MISSING, Layout, layout_of
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.separated import rows_of
from ppl_vae.data.sizes import check_bytes
from ppl_vae.data.source import Source
from ppl_vae.data.text_file import TextFile, beginning, plain_name, reason, shown

__all__ = ["READER"]


def _tabs(path: Path) -> bool:
    return plain_name(path).endswith(".tsv")


def holds_numbers(path: Path) -> bool:
    """Whether the first rows of a table hold numbers more than texts."""
    return layout_of(beginning(path), _tabs(path)) is not None


def read_numbers(path: Path, counts: bool = False, missing: bool = False, fields: str = "") -> Source:
    """Reads one datum a row: the columns of numbers by their names, a label, a split, and names of rows.

    Arguments:
        path: The file.
        counts: Whether the numbers are counts, for models of documents, the columns their words; set by the model.
        missing: Whether NaN is allowed: a value that is missing, which the model masks.
        fields: Names of the arguments of the model, separated by commas. If it has several and they are columns, each
            is such an argument; otherwise all columns of numbers are its one argument.

    Raises:
        ValueError: If a row has another number of cells than the others, a cell of a column of numbers holds something
            else, or as by the columns.
    """
    file = TextFile.open(path)
    layout = layout_of(file.text, _tabs(path))
    if layout is None:
        raise ValueError(f"{path} has no rows of numbers; give numbers, or documents in a column 'text'")
    names = [name.strip() for name in layout.names]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise file.error(1, f"two columns {shown(name)}", "give every column a name of its own")
    _check_shape(file, layout)
    columns = _columns(file, layout)
    return table_or_fields(str(path), dict(zip(names, columns, strict=True)), fields, counts=counts, missing=missing)


def _check_shape(file: TextFile, layout: Layout) -> None:
    """Refuses rows of several lengths, which pandas would fill up or take for an index."""
    text = file.text
    if "\0" in text:
        raise file.error(text.count("\n", 0, text.index("\0")) + 1, "a null character", "write the table again")
    if '"' in text:
        text = re.sub(r'"[^"]*"', "\0", text)
        within = re.search(rf"[^{re.escape(layout.separator)}\n\0]\0|\0[^{re.escape(layout.separator)}\n\0]", text)
        if '"' in text or within:
            place = text.count("\n", 0, text.index('"') if '"' in text else within.start() if within else 0) + 1
            raise file.error(
                place,
                "a quote within a cell, or one that is not closed",
                "close every quote, and double those in a cell",
            )
    wanted, short = len(layout.names) - 1, layout.header and layout.names[0] == ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip(" "):
            continue
        is_head, short = short, False
        if line.count(layout.separator) != wanted:
            if is_head and line.count(layout.separator) == wanted - 1:
                continue  # the header of R's write.table
            cells = line.count(layout.separator) + 1
            raise file.error(
                number, f"{cells} cells where there are {wanted + 1} columns", "correct or remove the line"
            )


def _columns(file: TextFile, layout: Layout) -> list[NDArray[Any]]:
    import pandas

    cells = file.text.count(layout.separator) + file.text.count("\n") + 1
    check_bytes(file.where, 16 * cells, "as a table of 64-bit floats")
    places = range(len(layout.names))
    numeric = [place for place in places if layout.numeric[place]]
    body = file.text.lstrip("\n \t") if layout.separator != "\t" else file.text.lstrip("\n")
    try:
        table = pandas.read_csv(
            io.StringIO(body),
            sep=layout.separator,
            header=None,
            skiprows=int(layout.header),
            names=list(places),
            index_col=False,
            dtype={place: np.float64 if layout.numeric[place] else str for place in places},
            na_values={place: MISSING for place in numeric},
            keep_default_na=False,
            decimal=layout.decimal,
            quoting=csv.QUOTE_MINIMAL,
        )
    except (ValueError, OverflowError, pandas.errors.ParserError) as error:
        raise _wrong_cell(file, layout) or ValueError(
            f"{file.where} is no table of numbers ({reason(error)}); mend or remove what is none"
        ) from None
    columns = []
    for place in places:
        if not layout.numeric[place]:
            columns.append(np.array([cell.strip() for cell in table[place]], dtype=object))
            continue
        values = table[place].to_numpy()
        if layout.whole[place] and np.isfinite(values).all() and np.abs(values).max(initial=0) < 2**53:
            values = values.astype(np.int64)
        columns.append(values)
    return columns


def _wrong_cell(file: TextFile, layout: Layout) -> ValueError | None:
    """The first cell that is no number in a column of numbers; called for a refused file alone."""
    for number, (line, row) in enumerate(rows_of(file, layout.separator)):
        for place, cell in enumerate(row if number or not layout.header else ()):
            if layout.numeric[place] and cell.strip() not in MISSING and not _parses(cell, layout.decimal):
                what = f"{shown(cell)} in column {shown(layout.names[place])} of finite numbers"
                return file.error(line, what, "mend it, or leave an empty cell for a missing value")
    return None


def _parses(cell: str, decimal: str) -> bool:
    text = cell.strip().replace(decimal, ".")
    number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII)
    return number is not None and math.isfinite(float(text))


READER = Reader(
    "TABLE.csv",
    "a table of numbers with the names of its columns, and perhaps of its rows, a label and a split (also .tsv, "
    "and semicolons)",
    Tensor,
    read_numbers,
    suffixes=(".csv", ".tsv"),
    matches=holds_numbers,
)

"""Layout of a table of numbers in text: separator, header and kinds of columns, as its first rows show them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ppl_vae.data.separated import SEPARATORS, rows_of
from ppl_vae.data.text_file import TextFile

__all__ = ["MISSING", "Layout", "layout_of"]

MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "<NA>", "?")
"""What a cell of a missing number holds."""

_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)

_PEEK = 2**22
"""Characters in which the first rows are looked for."""

_SAMPLE = 200
"""Rows by which columns of numbers are told from columns of texts."""

_WORDS = 4
"""Words of a cell, on average, from which on a column holds documents."""


@dataclass(frozen=True)
class Layout:
    """A layout.

    Arguments:
        separator: What separates cells.
        header: Whether the first row names the columns.
        names: Names of the columns; an empty one names the rows.
        numeric: Which columns hold numbers.
        decimal: Decimal point, or the comma of some languages.
        whole: Which columns hold no point and no exponent.
    """

    separator: str
    header: bool
    names: tuple[str, ...]
    numeric: tuple[bool, ...]
    decimal: str
    whole: tuple[bool, ...]


def layout_of(text: str, tabs: bool = False) -> Layout | None:
    """The layout of a table of numbers; None of a table of texts, and of what is no table.

    Most columns of a table of numbers hold numbers, but for texts that repeat, as classes do; none is called ``text``,
    and none holds sentences.

    Arguments:
        text: The table, or its beginning.
        tabs: Whether tabs separate its cells where no other mark is more frequent in its first line.

    Example:
        >>> layout_of("id;a;b\\nx;1,5;2\\ny;0,5;3\\n")
        Layout(separator=';', header=True, names=('id', 'a', 'b'), numeric=(False, True, True), decimal=',', \
whole=(False, False, True))
    """
    lines = text[:_PEEK].split("\n")
    if len(text) > _PEEK:
        lines.pop()  # cut short
    lines = [line for line in lines if line.strip()][: _SAMPLE + 1]
    if not lines:
        return None
    separator = max(("\t", *SEPARATORS) if tabs else SEPARATORS, key=lines[0].count)
    try:
        rows = [
            [cell.strip() for cell in row] for _, row in rows_of(TextFile("", "\n".join(lines).encode()), separator)
        ]
    except ValueError:
        # A table with a damaged quote is refused by its reader, with the line; it is no text.
        return layout_of(text.replace('"', ""), tabs) if '"' in text else None
    header = not any(_NUMBER.fullmatch(cell) for cell in rows[0]) or not all(map(_is_number, rows[0]))
    body = rows[1:] if header else rows
    width = max(map(len, body), default=0)
    names = tuple(rows[0]) if header else tuple(f"column {place + 1}" for place in range(width))
    if len(names) == width - 1:  # R's write.table leaves the names of rows without a name
        names = ("", *names)
    columns = list(zip(*(row for row in body if len(row) == width), strict=True))
    if not columns or len(names) != width or "text" in (name.lower() for name in names):
        return None
    numeric = tuple(
        name != "" and all(map(_is_number, column)) and any(column) for name, column in zip(names, columns, strict=True)
    )
    texts = [column for column, number in zip(columns, numeric, strict=True) if not number]
    kinds = [column for column in texts if sum(numeric) > 1 and 2 * len(set(column)) <= len(column)]
    if (
        not any(numeric)
        or 2 * sum(numeric) < width - len(kinds) - 1
        or any(sum(len(cell.split()) for cell in c) >= _WORDS * len(c) for c in texts)
    ):
        return None
    cells = [cell for column, number in zip(columns, numeric, strict=True) if number for cell in column]
    comma = any("," in cell for cell in cells) and not any("." in cell for cell in cells)
    whole = tuple(n and not any(set(".,eE") & set(cell) for cell in c) for c, n in zip(columns, numeric, strict=True))
    return Layout(separator, header, names, numeric, "," if comma else ".", whole)


def _is_number(cell: str) -> bool:
    return cell in MISSING or _NUMBER.fullmatch(cell) is not None

"""Rows of a text file separated by commas, semicolons or tabs, with the lines they stand in."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator

from ppl_vae.data.text_file import TextFile

__all__ = ["SEPARATORS", "rows_of", "separator_of"]

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""What separates the cells of a row, and its name."""


def separator_of(file: TextFile, usual: str, fits: Callable[[list[str]], bool]) -> str:
    """The separator by which the first row is what it should be: the usual one, if that fits or none does.

    Arguments:
        file: The table.
        usual: The separator that the name of the file promises.
        fits: Whether a row, in lower case and without blanks around its cells, is such a first row.
    """
    first = next((line for line in file.lines if line.strip()), "")
    for separator in (usual, *SEPARATORS):
        cells = [cell.strip().lower() for cell in next(csv.reader([first], delimiter=separator), [])]
        if fits(cells):
            return separator
    return usual


def rows_of(file: TextFile, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the line each ends in.

    Raises:
        ValueError: If a quote is not closed, or has text after it.
    """
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
                raise _fault(file, separator, reader.line_num, str(error)) from None
            if row:
                yield reader.line_num, row
    finally:
        csv.field_size_limit(limit)


def _fault(file: TextFile, separator: str, line: int, said: str) -> ValueError:
    if "expected after" not in said:
        return file.error(line, "a quote that is not closed", "close every quote, and double those in a text")
    other = next((mark for mark in SEPARATORS if mark != separator and f'"{mark}' in file.lines[line - 1]), None)
    remedy = "close every quote, and double those in a text"
    if other:
        remedy += f"; or if {SEPARATORS[other]} separate the cells, name the columns in a first line by them"
    return file.error(line, "text after a closing quote", remedy)

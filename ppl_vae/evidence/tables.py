"""Tables as text."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from html import escape
from textwrap import fill
from typing import TextIO

from ppl_vae.plugins.streams import is_terminal

__all__ = ["html_table", "in_short", "noted", "text_table"]

READABLE = 26
"""Width in characters below which a column of sentences is hard to read."""


def in_short(names: Sequence[str], most: int) -> str:
    """Names, the first ones of many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def text_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: Collection[str] = ("",),
    caption: str = "",
    width: int = 110,
    min_width: int = 0,
    boxed: bool = True,
    beneath: bool = False,
) -> str:
    """A table as lines of text.

    Arguments:
        title: The line above it.
        columns: Their heads.
        rows: The cells of each row.
        left: Heads of the columns that are aligned to the left; the others are numbers.
        caption: The text below it.
        width: Largest width in characters where there is no terminal; on one its width counts.
        min_width: Smallest width in characters.
        boxed: Whether lines are drawn around the cells, if the terminal is wide enough; if not, the title is aligned to
            the left.
        beneath: Whether the last column, of text, is written below the table, row by row, where little room is left.

    Example:
        >>> print(text_table("nats per datum", ("", "mean"), [("ELBO", "-12.3")]))
         nats per datum
        ┏━━━━━━┳━━━━━━━┓
        ┃      ┃  mean ┃
        ┡━━━━━━╇━━━━━━━┩
        │ ELBO │ -12.3 │
        └──────┴───────┘
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(width=shutil.get_terminal_size((width, 0)).columns, markup=False)
    table = Table(title=title, caption=caption or None, min_width=min(min_width, console.width) or None)
    lines, narrowest, notes = list(rows), 1, list[str]()
    widths = [3 + max(map(len, cells)) for cells in zip(columns, *lines, strict=True)]
    if beneath and console.width - sum(widths[:-1]) < min(widths[-1], READABLE):
        notes = [f"{line[0]}: {line[-1]}" for line in lines if line[-1]]
        columns, lines = columns[:-1], [line[:-1] for line in lines]
    for place, column in enumerate(columns):
        cells = [column, *(line[place] for line in lines)]
        # Text is wrapped between words, where it must be; numbers and the names of rows never are.
        is_text = column in left and place > 0
        narrowest += 3 + max(len(part) for cell in cells for part in (cell.split() or [""] if is_text else [cell]))
        table.add_column(column, justify="left" if column in left else "right", overflow="fold", no_wrap=not is_text)
    for line in lines:
        table.add_row(*line)
    if not boxed or narrowest > console.width:
        table.box, table.title_justify, table.caption_justify = None, "left", "left"
        narrowest -= len(columns) + 1
    console.width = max(console.width, narrowest)
    with console.capture() as captured:
        console.print(table)
    shown = [line.rstrip() for line in captured.get().rstrip().splitlines()]
    return "\n".join([*shown, *(fill(note, console.width, subsequent_indent="  ") for note in notes)])


def noted(line: str, stream: TextIO | None = None) -> str:
    """A remark as ``note: line``; for a terminal folded to its width, with a hanging indent.

    Arguments:
        line: The remark.
        stream: Where it is printed; by default the output stream.
    """
    text = f"note: {line}"
    if not is_terminal(stream or sys.stdout):
        return text
    indent = " " * len("note: ")
    columns = shutil.get_terminal_size().columns
    return fill(text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def html_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], below: Iterable[str] = ()) -> str:
    """A table of a notebook, its first column the names of its rows, with lines below it.

    Example:
        >>> html_table("a < b", ("", "mean"), [("x", "1")])  # doctest: +ELLIPSIS
        '<table><caption>a &lt; b</caption><thead><tr>...</tr></thead><tbody>...</tbody></table>'
    """
    heads = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for first, *cells in rows
    )
    table = f"<table><caption>{escape(title)}</caption><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"
    return table + "".join(f"<p>{escape(line)}</p>" for line in below if line)

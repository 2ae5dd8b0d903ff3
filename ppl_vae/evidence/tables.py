"""Tables as text."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Sequence

__all__ = ["text_table"]


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
    lines, narrowest = list(rows), 1
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
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())

"""Tables as text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

__all__ = ["text_table"]


def text_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: Collection[str] = ("",),
    caption: str = "",
    width: int | None = 110,
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
        width: Largest width in characters; None for that of the terminal.
        min_width: Smallest width in characters.
        boxed: Whether lines are drawn around the cells; if not, the title is aligned to the left.

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

    look: dict[str, Any] = {} if boxed else {"box": None, "title_justify": "left"}
    table = Table(title=title, caption=caption or None, min_width=min_width or None, **look)
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(width=width, markup=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())

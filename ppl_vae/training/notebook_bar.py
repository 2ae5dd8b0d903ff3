"""A progress bar in a notebook: one output that is shown anew, and empty at the end."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any

__all__ = ["NotebookBar", "in_notebook"]

EVERY = 0.2
"""Seconds between two states of a bar."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return hasattr(shell, "kernel")


class NotebookBar:
    """The bar of one work.

    Arguments:
        title: Name of the work.
        total: Number of steps.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total = title, total
        self.shown = -float("inf")
        self.output: Any = None  # a DisplayHandle of IPython, which is not a dependency

    def start(self) -> None:
        from IPython.display import HTML, display

        self.output = display(HTML(""), display_id=True)

    def update(self, done: int, status: str, left: float) -> None:
        """Shows the steps done, a status text and about how many seconds are left."""
        if time.monotonic() - self.shown < EVERY:
            return
        self.shown = time.monotonic()
        words = escape(", ".join(filter(None, [f"{done / self.total:.0%}", status, f"about {left:.0f} s left"])))
        self._show(f'{escape(self.title)} <progress max="{self.total}" value="{done}"></progress> {words}')

    def stop(self) -> None:
        self._show("")

    def _show(self, html: str) -> None:
        from IPython.display import HTML

        self.output.update(HTML(html))

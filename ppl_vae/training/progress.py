"""Progress on the error stream: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

__all__ = ["Reporter"]

EVERY = 10.0
"""Seconds between plain lines."""


class Reporter:
    """Counts towards a total and shows a changing line of words beside it.

    Arguments:
        title: What is going on.
        total: How many steps it takes.
        start: How many are done already.
    """

    def __init__(self, title: str, total: int, start: int = 0) -> None:
        self.title, self.total, self.done, self.words = title, total, start, ""
        self.begun = self.shown = time.monotonic()
        self.start = start
        self.bar: Progress | None = None
        if sys.stderr.isatty():
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=12),
                TaskProgressColumn(),
                TextColumn("{task.fields[words]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.task = self.bar.add_task(title, total=total, completed=start, words="")

    def __enter__(self) -> Reporter:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, steps: int, words: str | None = None) -> None:
        """Counts steps as done."""
        self.done += steps
        self.words = self.words if words is None else words
        if self.bar:
            self.bar.update(self.task, completed=self.done, words=self.words)
        elif time.monotonic() - self.shown >= EVERY:
            self.shown = time.monotonic()
            left = (self.shown - self.begun) / max(1, self.done - self.start) * (self.total - self.done)
            words = f", {self.words}" if self.words else ""
            log(f"{self.title}: {self.done / self.total:.0%}{words}, about {left:.0f} s left")


def log(line: str) -> None:
    """A line for the user, on the error stream."""
    print(line, file=sys.stderr, flush=True)

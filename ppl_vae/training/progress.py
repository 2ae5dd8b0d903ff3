"""Progress: a live bar on a terminal or in a notebook, else a plain line on the error stream every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ppl_vae.evidence.tables import noted
from ppl_vae.plugins.streams import is_terminal, say
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.training.notebook_bar import NotebookBar, in_notebook

__all__ = ["Reporter", "collecting", "log"]

EVERY = 10.0
"""Seconds between plain lines."""

KNOWN = 0.03
"""Share of the work from which the rest is estimated: the first steps are slow."""


class Reporter:
    """Counts steps towards a total and shows them with a status text.

    Arguments:
        title: Name of the work.
        total: Number of steps, or a function that finds it, which is called when it is first shown.
        start: Number of steps done already.
    """

    def __init__(self, title: str, total: int | Callable[[], int], start: int = 0) -> None:
        self.title, self._total, self.done, self.status = title, total, start, ""
        self.begun = self.shown = time.monotonic()
        self.start = start
        self.bar: Progress | None = None
        self.notebook = NotebookBar(title, self.total) if in_notebook() else None
        if is_terminal(sys.stderr) and _COLLECTED.get() is None:
            self.bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=12),
                TaskProgressColumn(),
                TextColumn("{task.fields[status]}", markup=False),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.task = self.bar.add_task(title, total=self.total, completed=start, status="")

    @cached_property
    def total(self) -> int:
        """Number of steps; finding it changes no random number of the work."""
        if isinstance(self._total, int):
            return self._total
        with fork_random_state():
            return self._total()

    def __enter__(self) -> Reporter:
        for bar in self._bars():
            bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bar in self._bars():
            bar.stop()

    def advance(self, steps: int, status: str | None = None) -> None:
        """Counts steps as done, and replaces the status text if there is one."""
        self.done += steps
        self.status = self.status if status is None else status
        if self.bar:
            self.bar.update(self.task, completed=self.done, status=self.status)
        elif self.notebook:
            self.notebook.update(self.done, self.status, self._left())
        elif time.monotonic() - self.shown >= EVERY:
            self.shown = time.monotonic()
            text = f", {self.status}" if self.status else ""
            begun = self.done - self.start >= KNOWN * (self.total - self.start)
            left = f", about {self._left():.0f} s left" if begun else ""
            log(f"{self.title}: {self.done / self.total:.0%}{text}{left}")

    def _bars(self) -> list[Progress | NotebookBar]:
        return [bar for bar in (self.bar, self.notebook) if bar]

    def _left(self) -> float:
        spent = time.monotonic() - self.begun
        return spent / max(1, self.done - self.start) * (self.total - self.done)


_COLLECTED: ContextVar[list[str] | None] = ContextVar("collected", default=None)


@contextmanager
def collecting() -> Iterator[list[str]]:
    """What is logged inside is collected instead of printed."""
    lines = list[str]()
    token = _COLLECTED.set(lines)
    try:
        yield lines
    finally:
        _COLLECTED.reset(token)


def log(line: str) -> None:
    """Prints a line for the user on the error stream, a note folded to the width of a terminal."""
    if (collected := _COLLECTED.get()) is not None:
        collected.append(line)
        return
    remark = line.removeprefix("note: ")
    say(line if remark == line else noted(remark, sys.stderr))

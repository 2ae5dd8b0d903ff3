"""Checks that go on after a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ppl_vae.plugins.places import message_of
from ppl_vae.runs.check.result import Row, Status

__all__ = ["Ledger"]

T = TypeVar("T")


class Ledger:
    """The rows of a check as they are found."""

    def __init__(self) -> None:
        self.rows = list[Row]()

    @property
    def has_fault(self) -> bool:
        """Whether a fault was found."""
        return any(row.status == "fault" for row in self.rows)

    def add(self, check: str, found: str, remedy: str = "", status: Status = "ok", **values: Any) -> None:
        """Adds a row."""
        self.rows.append(Row(check, status, found, remedy, values))

    def fault(self, check: str, error: Exception) -> None:
        """Adds the row of an error, which says what to do behind its first semicolon."""
        found, _, remedy = message_of(error).partition("; ")
        self.rows.append(Row(check, "fault", found, remedy))

    def faults(self, check: str, errors: Iterable[Exception]) -> bool:
        """Adds a row for each error; returns whether there is one."""
        count = len(self.rows)
        for error in errors:
            self.fault(check, error)
        return len(self.rows) > count

    def holds(self, check: str, *works: Callable[[], object]) -> bool:
        """Whether some work does not fail; else there is a row that says why."""
        return self.attempt(check, lambda: [work() for work in works]) is not None

    def attempt(self, check: str, work: Callable[[], T], *, doubtful: bool = False) -> T | None:
        """The result of some work; None, with a row that says why, where it fails.

        Arguments:
            check: Name of the row.
            work: The work.
            doubtful: Whether an error may be the consequence of a fault above.
        """
        try:
            return work()
        except Exception as error:  # noqa: BLE001  (of a user's program, of any kind)
            if message_of(error) in [row.text for row in self.rows]:
                self.add(check, "it waits until the same fault above is mended", status="not checked")
            elif doubtful:
                line = message_of(error).splitlines()[0]
                self.add(check, f"it fails, perhaps by a fault above: {line}", status="not checked")
            else:
                self.fault(check, error)
            return None

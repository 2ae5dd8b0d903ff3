"""The result of a check of a pair: a row for everything that was looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ppl_vae.evidence.tables import html_table, text_table

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Check", "Row", "Status"]

Status = Literal["ok", "note", "fault", "not checked"]

COLUMNS = ("check", "", "found, and what to do")


@dataclass(frozen=True)
class Row:
    """One check.

    Arguments:
        check: Its name.
        status: Whether all is well, something is worth knowing, training or measuring is refused or cannot work, or
            the check waits until faults above are mended.
        found: What was found.
        remedy: What to do about it; empty where there is nothing to do.
        values: The numbers of the check by name.
    """

    check: str
    status: Status
    found: str
    remedy: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What was found and what to do."""
        return f"{self.found}; {self.remedy}" if self.remedy else self.found


@dataclass(frozen=True, repr=False)
class Check:
    """A check of a pair on some data.

    Arguments:
        pair: Names of model and guide.
        data: Name of the data.
        rows: The checks, in their order.
        command: The command that trains the pair; empty for objects of a Python program.
    """

    pair: str
    data: str
    rows: tuple[Row, ...]
    command: str = ""

    @property
    def faults(self) -> tuple[Row, ...]:
        """The checks that found a fault."""
        return tuple(row for row in self.rows if row.status == "fault")

    @property
    def notes(self) -> tuple[Row, ...]:
        """The checks that found something worth knowing."""
        return tuple(row for row in self.rows if row.status == "note")

    @property
    def ok(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    @property
    def exit_code(self) -> int:
        """That of the command: 1 with a fault."""
        return 0 if self.ok else 1

    @property
    def next_step(self) -> str:
        """The command that trains the pair, where nothing is against it."""
        return self.command if self.ok else ""

    def __getitem__(self, check: str) -> Row:
        """The row of a name.

        Raises:
            KeyError: If there is none, naming those that are there.
        """
        names = [row.check for row in self.rows]
        if check not in names:
            raise KeyError(f"there is no check {check!r}; there are {', '.join(names)}")
        return self.rows[names.index(check)]

    @property
    def title(self) -> str:
        """The line above the table."""
        return f"{self.pair} on {self.data}"

    @property
    def verdict(self) -> str:
        """The line below the table."""
        counts = Counter(row.status for row in self.rows)
        parts = [_counted(counts["fault"], "fault"), _counted(counts["note"], "note")]
        waiting = counts["not checked"]
        return ", ".join(parts) + (f", {waiting} not checked until the faults are mended" if waiting else "")

    def to_json(self) -> dict[str, Any]:
        rows = [
            {"check": row.check, "status": row.status, "found": row.found, "remedy": row.remedy, **dict(row.values)}
            for row in self.rows
        ]
        counts = {"faults": len(self.faults), "notes": len(self.notes)}
        return {"pair": self.pair, "data": self.data, "ok": self.ok, **counts, "checks": rows}

    def to_frame(self) -> DataFrame:
        """The checks as a pandas table with a row each."""
        from pandas import DataFrame

        names = ("status", "found", "remedy")
        return DataFrame(
            {name: [getattr(row, name) for row in self.rows] for name in names}, [r.check for r in self.rows]
        )

    def _cells(self) -> list[tuple[str, ...]]:
        return [(row.check, row.status, row.text) for row in self.rows]

    def __str__(self) -> str:
        table = text_table(self.title, COLUMNS, self._cells(), left=COLUMNS, boxed=False)
        return f"{table}\n{self.verdict}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table of a notebook."""
        return html_table(self.title, COLUMNS, self._cells(), [self.verdict])


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"

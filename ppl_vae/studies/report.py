"""What an experiment ends with: figures beside a paper's or a theory's, and whether claims held."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ppl_vae.evidence.results import finite

__all__ = ["Claim", "Report", "Row"]


@dataclass(frozen=True)
class Row:
    """A quantity that was measured, once a seed.

    Arguments:
        quantity: What it is.
        values: Ours, one a seed, in ``unit``.
        paper: What the paper prints; None if it prints none.
        limit: What theory or exact computation says it tends to; None if that is not known.
        unit: Of all of them.
        group: Under which the table gathers rows.
        digits: After the point.
    """

    quantity: str
    values: Sequence[float]
    paper: float | None = None
    limit: float | None = None
    unit: str = "nats"
    group: str = ""
    digits: int = 3

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return math.fsum(self.values) / len(self.values)

    @property
    def se(self) -> float:
        """Standard error of the mean over the seeds; not a number for a single one."""
        if len(self.values) < 2:
            return math.nan
        squares = math.fsum((value - self.mean) ** 2 for value in self.values)
        return math.sqrt(squares / (len(self.values) - 1) / len(self.values))

    def to_json(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "quantity": self.quantity,
            "unit": self.unit,
            "mean": finite(self.mean),
            "se": finite(self.se),
            "values": [finite(float(value)) for value in self.values],
            "limit": None if self.limit is None else finite(self.limit),
            "paper": self.paper,
            "difference": None if self.paper is None else finite(self.mean - self.paper),
        }

    def cells(self) -> list[str]:
        """As the table shows it: ours, its error, the limit, the paper's, and the difference from the paper's."""

        def show(value: float | None, sign: str = "") -> str:
            return "" if value is None or not math.isfinite(value) else f"{value:{sign}.{self.digits}f}"

        difference = None if self.paper is None else self.mean - self.paper
        error = "" if math.isnan(self.se) else f"{self.se:.2g}"
        return [show(self.mean), error, show(self.limit), show(self.paper), show(difference, "+")]


@dataclass(frozen=True)
class Claim:
    """A sentence that was tested.

    Arguments:
        text: The claim.
        held: Whether it did.
        found: The figures that say so.
    """

    text: str
    held: bool
    found: str

    def __str__(self) -> str:
        return f"{'held' if self.held else 'DID NOT HOLD'}: {self.text} ({self.found})"


@dataclass(frozen=True)
class Report:
    """What an experiment found.

    Arguments:
        title: Of the experiment.
        rows: The table.
        claims: What was tested.
        notes: What a reader must know before believing the figures.
    """

    title: str
    rows: Sequence[Row]
    claims: Sequence[Claim] = field(default=())
    notes: Sequence[str] = field(default=())

    def __getitem__(self, quantity: str) -> Row:
        """A row by its quantity, or by group and quantity joined with a colon and a space."""
        return next(row for row in self.rows if quantity in (row.quantity, f"{row.group}: {row.quantity}"))

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "rows": [row.to_json() for row in self.rows],
            "claims": [{"text": claim.text, "held": claim.held, "found": claim.found} for claim in self.claims],
            "notes": list(self.notes),
        }

    def markdown(self) -> str:
        """The report as a page."""
        lines = [f"# {self.title}", "", *(f"- {claim}" for claim in self.claims), ""]
        table = self.columns()
        rows = [list(table), ["---"] * len(table), *zip(*table.values(), strict=True)]
        lines += [f"| {' | '.join(cells)} |" for cells in rows]
        return "\n".join([*lines, "", *(f"Note: {note}.\n" for note in self.notes)]) + "\n"

    def columns(self) -> dict[str, list[str]]:
        """The table as strings by the name of the column, without columns that would be empty."""
        found = {
            "quantity": [f"{row.group}: {row.quantity}" if row.group else row.quantity for row in self.rows],
            "unit": [row.unit for row in self.rows],
        }
        if not self.rows:
            return found
        numbers = zip(*(row.cells() for row in self.rows), strict=True)
        found |= dict(zip(("ours", "se", "limit", "paper", "difference"), map(list, numbers), strict=True))
        return {name: cells for name, cells in found.items() if any(cells)}

    def __str__(self) -> str:
        table = Table(title=self.title)
        columns = self.columns()
        for name in columns:
            table.add_column(name, justify="left" if name in ("quantity", "unit") else "right", overflow="fold")
        groups = [row.group for row in self.rows]
        for cells, row, before, after in zip(
            zip(*columns.values(), strict=True), self.rows, [None, *groups[:-1]], [*groups[1:], None], strict=True
        ):
            if row.group and row.group != before:
                table.add_row(Text(row.group, style="bold"))
            label = Text(f"  {row.quantity}" if row.group else row.quantity)
            table.add_row(label, *cells[1:], end_section=row.group != after)
        if "se" in columns:
            count = max(len(row.values) for row in self.rows)
            table.caption = f"se: standard error of the mean over {count} seeds"
        console = Console(width=118)
        with console.capture() as captured:
            console.print(table)
        claims = "".join(f"{claim}\n" for claim in self.claims)
        return captured.get() + claims + "".join(f"note: {note}\n" for note in self.notes)

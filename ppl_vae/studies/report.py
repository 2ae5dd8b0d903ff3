"""The report of an experiment: measured numbers beside those of a paper or theory, and its decided claims."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.evidence.estimate import finite
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.decisions import LEVEL, Decision, decide

__all__ = ["GAP_ROWS", "Report", "Row", "gap_levels", "gap_rows", "with_error"]

GAP_ROWS = ("ELBO", "evidence", "gap", "family gap", "amortisation gap")
"""The rows of a table that splits a gap."""


@dataclass(frozen=True)
class Row:
    """A quantity measured once per seed.

    Arguments:
        quantity: Name of the quantity.
        values: The measured values, one per seed.
        paper: The value in the paper; None if it has none.
        limit: The value by theory or exact computation; None if it is not known.
        unit: Unit of all values.
        group: Heading of the row's group in the table.
        digits: Number of decimals to print.
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
        """Mean over the seeds."""
        return math.fsum(self.values) / len(self.values)

    @property
    def se(self) -> float:
        """Standard error of the mean over the seeds; NaN for a single one."""
        if len(self.values) < 2:
            return math.nan
        squares = math.fsum((value - self.mean) ** 2 for value in self.values)
        return math.sqrt(squares / (len(self.values) - 1) / len(self.values))

    @property
    def sign(self) -> str:
        """Empty: a mean over seeds is off in no known direction."""
        return ""

    @property
    def figure(self) -> str:
        """The mean with its error."""
        value, error, *_ = self.cells()
        return f"{value} +- {error}" if error else value

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
        """Returns the cells of a table's row: our value, its error, the limit, the paper's value and the difference."""

        def show(value: float | None, sign: str = "") -> str:
            return "" if value is None or not math.isfinite(value) else f"{value:{sign}.{self.digits}f}"

        difference = None if self.paper is None else self.mean - self.paper
        error = "" if math.isnan(self.se) else f"{self.se:.2g}"
        return [show(self.mean), error, show(self.limit), show(self.paper), show(difference, "+")]


@dataclass(frozen=True)
class Report:
    """Results of an experiment.

    Arguments:
        title: Title of the experiment.
        rows: Rows of the table.
        claims: All claims of the experiment, which are decided together.
        notes: Reasons for caution.
        level: Probability with which the report may call any false claim held, and any true one not.
    """

    title: str
    rows: Sequence[Row]
    claims: Sequence[Claim] = field(default=())
    notes: Sequence[str] = field(default=())
    level: float = LEVEL

    @cached_property
    def decisions(self) -> list[Decision]:
        """The answer to each claim, by Holm's procedure over all of them."""
        return decide(self.claims, self.level)

    @property
    def rule(self) -> str:
        """How the claims were decided, in one sentence; empty without claims."""
        if not self.claims:
            return ""
        tested = sum(not claim.is_exact for claim in self.claims)
        how = f"one-sided tests, p-values adjusted by Holm's procedure over the {tested} tested claims"
        return (
            f"level {self.level:.1%} for the whole report: {how if tested else 'all claims are exact, none is tested'}"
        )

    def __getitem__(self, quantity: str) -> Row:
        """Returns a row by its quantity, or by group and quantity joined with a colon and a space."""
        return next(row for row in self.rows if quantity in (row.quantity, f"{row.group}: {row.quantity}"))

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "rows": [row.to_json() for row in self.rows],
            "level": self.level,
            "claims": [decision.to_json() for decision in self.decisions],
            "notes": list(self.notes),
        }

    def markdown(self) -> str:
        """Returns the report as a page."""
        lines = [f"# {self.title}", ""]
        if self.claims:
            lines += [f"{self.rule[0].upper()}{self.rule[1:]}.", "", *(f"- {line}" for line in self.decisions), ""]
        if table := self.columns():
            rows = [list(table), ["---"] * len(table), *zip(*table.values(), strict=True)]
            lines += [f"| {' | '.join(cells)} |" for cells in rows]
        return "\n".join([*lines, "", *(f"Note: {note}.\n" for note in self.notes)]) + "\n"

    def columns(self) -> dict[str, list[str]]:
        """Returns the table as strings by the name of the column, without columns that would be empty."""
        columns = {
            "quantity": [f"{row.group}: {row.quantity}" if row.group else row.quantity for row in self.rows],
            "unit": [row.unit for row in self.rows],
        }
        if not self.rows:
            return {}
        numbers = zip(*(row.cells() for row in self.rows), strict=True)
        columns |= dict(zip(("ours", "se", "limit", "paper", "difference"), map(list, numbers), strict=True))
        return {name: cells for name, cells in columns.items() if any(cells)}

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        table = self._table() if self.rows else f"{self.title}\n"
        claims = "".join(f"{decision}\n" for decision in self.decisions) + (f"{self.rule}\n" if self.claims else "")
        return table + claims + "".join(f"note: {note}\n" for note in self.notes)

    def _table(self) -> str:
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
        console = Console(width=shutil.get_terminal_size((118, 0)).columns, markup=False)
        with console.capture() as captured:
            console.print(table)
        return captured.get()


def with_error(values: Tensor) -> str:
    """A mean over seeds with its standard error, to four digits."""
    return f"{values.mean():.4g}" + (f" +- {values.std() / len(values) ** 0.5:.2g}" if len(values) > 1 else "")


def gap_rows(gap: Gap) -> dict[str, Tensor]:
    """Returns evidence, ELBO and the parts of the gap between them by the names of :data:`GAP_ROWS`, pointwise."""
    rows = (gap.elbo, gap.evidence, gap.evidence.minus(gap.elbo), gap.family_gap, gap.amortisation_gap)
    return {name: row.pointwise for name, row in zip(GAP_ROWS, rows, strict=True)}


def gap_levels(rows: Sequence[Row], split: str = "test") -> dict[str, dict[str, Row]]:
    """Returns the rows of :data:`GAP_ROWS` of each group by name, as :func:`draw_gap_bars` takes them.

    Arguments:
        rows: Rows of a table, of which those of a gap are called ``"SPLIT ELBO"`` and so on.
        split: The split to draw.

    Returns:
        Rows by name, by the group with its gap below it.
    """
    groups: dict[str, dict[str, Row]] = {}
    for row in rows:
        name = row.quantity.removeprefix(f"{split} ")
        if row.quantity != name and name in GAP_ROWS:
            groups.setdefault(row.group, {})[name] = row
    return {f"{group}\ngap {levels['gap'].figure}": levels for group, levels in groups.items()}

"""Stored reports of experiments, and the shapes of their tables in the pages."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.stored import FOLDER
from website.markdown import table

__all__ = ["Crossed", "Lines", "Pivot", "keep", "kept", "stored"]

REPORTS = FOLDER / "experiments"


def kept() -> list[str]:
    """Names of the experiments whose reports are stored."""
    return sorted(path.stem for path in REPORTS.glob("*.json"))


def keep(name: str, content: Mapping[str, Any]) -> None:
    """Stores the report of an experiment."""
    REPORTS.mkdir(exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (REPORTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def stored(name: str) -> dict[str, Any]:
    """The stored report of an experiment."""
    content: dict[str, Any] = json.loads((REPORTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


@dataclass(frozen=True)
class Pivot:
    """A table of a report: a line for each of its groups, a column for each of some quantities.

    Arguments:
        experiment: Name of the experiment.
        columns: Quantities by the head of their columns; ``"limit of "`` before one takes its known value.
        head: Head of the first column.
        digits: Most decimals; of a standard error no more are shown than its first two digits.
        groups: What the groups are called, of those that are shown; None shows all.
        sweep: Whether the report is of a sweep, whose cells are groups of the table, too.
        limits: Whether the known value stands in brackets beside each mean.
    """

    experiment: str
    columns: Mapping[str, str]
    head: str
    digits: int = 3
    groups: Mapping[str, str] | None = None
    sweep: bool = False
    limits: bool = False

    def markdown(self) -> str:
        """The table, with standard errors over seeds where there are several and a digit shows them."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for row in stored(self.experiment)["rows"]:
            at, _, quantity = row["quantity"].rpartition(": ") if self.sweep else ("", "", row["quantity"])
            if at or not self.sweep:
                found.setdefault(", ".join(filter(None, [row["group"], at])), {})[quantity] = row
        names = {name: name for name in found} if self.groups is None else self.groups
        lines = [
            (label, *(self._cell(found[name], quantity) for quantity in self.columns.values()))
            for name, label in names.items()
        ]
        return table("|".join([self.head, *self.columns]), lines)

    def _cell(self, rows: Mapping[str, Mapping[str, Any]], quantity: str) -> str:
        if self.limits and quantity in rows and rows[quantity]["limit"] is not None:
            return f"{self._shown(rows, quantity)} ({self._shown(rows, f'limit of {quantity}')})"
        return self._shown(rows, quantity)

    def _shown(self, rows: Mapping[str, Mapping[str, Any]], quantity: str) -> str:
        known = quantity.startswith("limit of ")
        row = rows.get(quantity.removeprefix("limit of "))
        value = None if row is None else row["limit" if known else "mean"]
        if row is None or value is None:
            return ""
        if row["unit"] == "units":
            return f"{value:g}"
        error = 0.0 if known else row["se"] or 0.0
        if error < 0.5 * 10.0**-self.digits:
            return f"{value:.{self.digits}f}"
        digits = min(self.digits, max(0, 1 - math.floor(math.log10(error))))
        return f"{value:.{digits}f} ± {error:.{digits}f}"


@dataclass(frozen=True)
class Lines:
    """A table of a report with a line for each of its rows.

    Arguments:
        experiment: Name of the experiment.
        digits: Decimals.
    """

    experiment: str
    digits: int = 3

    def markdown(self) -> str:
        """Quantity, mean over seeds, standard error, known limit and the paper's value."""
        lines = []
        for row in stored(self.experiment)["rows"]:
            ours, limit = ("" if row[key] is None else f"{row[key]:.{self.digits}f}" for key in ("mean", "limit"))
            paper = "" if row["paper"] is None else f"{row['paper']:g}"
            name = f"{row['group']}: {row['quantity']}" if row["group"] else row["quantity"]
            lines.append((name, ours, f"{row['se']:.2g}" if row["se"] else "", limit, paper))
        return table("quantity|ours|se|limit|paper", lines)


@dataclass(frozen=True)
class Crossed:
    """A table of a report with a line for each setting and a column for each condition, of several quantities.

    Groups of such a report are called by their setting, a comma, and their condition.

    Arguments:
        experiment: Name of the experiment.
        head: Head of the first column.
        limit: Quantity whose known value stands in the second column, and its head.
        quantities: Head of the columns by quantity; ``"lost "`` before one takes how far it lies below its known value.
        conditions: What conditions are called in the heads.
        digits: Decimals.
    """

    experiment: str
    head: str
    limit: tuple[str, str]
    quantities: Mapping[str, str]
    conditions: Mapping[str, str]
    digits: int = 3

    def markdown(self) -> str:
        """The table."""
        found: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
        for row in stored(self.experiment)["rows"]:
            condition = next(name for name in self.conditions if row["group"].endswith(f", {name}"))
            setting = row["group"].removesuffix(f", {condition}")
            found.setdefault(setting, {})[condition, row["quantity"]] = row
        columns = [(condition, quantity) for quantity in self.quantities for condition in self.conditions]
        heads = [f"{self.quantities[quantity]}{self.conditions[condition]}" for condition, quantity in columns]
        lines = []
        for setting, rows in found.items():
            known = next(row["limit"] for (_, quantity), row in rows.items() if quantity == self.limit[0])
            lines.append((setting, f"{known:.{self.digits}f}", *(self._cell(rows, *column) for column in columns)))
        return table("|".join([self.head, self.limit[1], *heads]), lines)

    def _cell(self, rows: Mapping[tuple[str, str], Mapping[str, Any]], condition: str, quantity: str) -> str:
        row = rows[condition, quantity.removeprefix("lost ")]
        return f"{row['limit'] - row['mean'] if quantity.startswith('lost ') else row['mean']:.{self.digits}f}"

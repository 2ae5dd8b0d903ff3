"""Outcomes of damaged files, counted by form, and their table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.siege.judge import FAULTS, OUTCOMES, Outcome

__all__ = ["RESULTS", "Row", "markdown", "stored"]

RESULTS = Path(__file__).parents[1] / "results" / "siege.json"
"""The stored outcomes."""


@dataclass
class Row:
    """Outcomes of the files of one form.

    Arguments:
        form: Name of the form.
        seed: Seed of the files.
        counts: Number of files by outcome.
        numbers: Numbers of the files with a fault, by which they can be made again, at most a hundred.
    """

    form: str
    seed: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    numbers: list[int] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Counts an outcome."""
        self.counts[outcome.verdict] += 1
        if outcome.verdict in FAULTS and len(self.numbers) < 100:
            self.numbers.append(outcome.number)

    @property
    def faults(self) -> int:
        """Number of files that were neither read right nor refused in words."""
        return sum(self.counts[name] for name in FAULTS)

    def to_json(self) -> dict[str, object]:
        return {"seed": self.seed, "outcomes": {n: self.counts[n] for n in OUTCOMES}, "faults": sorted(self.numbers)}

    def __str__(self) -> str:
        return f"{self.form}: " + ", ".join(f"{self.counts[name]} {name}" for name in OUTCOMES if self.counts[name])


def stored(file: Path = RESULTS) -> list[Row]:
    """The stored outcomes by form, in the order of their names."""
    content = json.loads(file.read_text())["forms"]
    return [Row(name, row["seed"], Counter(row["outcomes"]), row["faults"]) for name, row in sorted(content.items())]


def markdown(rows: Iterable[Row]) -> str:
    """A table with a row for each form, as Markdown."""
    lines = ["| files | mutants | " + " | ".join(OUTCOMES) + " |", "|---|" + "---:|" * (1 + len(OUTCOMES))]
    for row in rows:
        cells = [f"{sum(row.counts.values()):,}", *(f"{row.counts[name]:,}" for name in OUTCOMES)]
        lines.append(f"| {row.form} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

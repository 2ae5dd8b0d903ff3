"""How often a statement held, with the error of that count, and whether it is the rate that was promised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from scipy.stats import binomtest

__all__ = ["Rate", "markdown", "pooled"]


@dataclass(frozen=True)
class Rate:
    """A count of replications in which a statement held.

    Arguments:
        statement: What was counted.
        count: Replications in which it held.
        runs: All replications.
        stated: The rate that is promised; None where none is.
        side: Whether the rate is promised to be at least, or at most, that.
        note: What else there is to know, such as sizes and mean errors.
    """

    statement: str
    count: int
    runs: int
    stated: float | None = None
    side: Literal["at least", "at most"] = "at least"
    note: str = ""

    @property
    def rate(self) -> float:
        """The share of replications."""
        return self.count / self.runs if self.runs else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Limits between which the true rate lies with a confidence of 95% (Clopper and Pearson 1934)."""
        if not self.runs:
            return 0.0, 1.0
        found = binomtest(self.count, self.runs).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)

    @property
    def holds(self) -> bool | None:
        """Whether the promised rate is within the interval, or better; None without a promise, or a replication."""
        if self.stated is None or not self.runs:
            return None
        low, high = self.interval
        return high >= self.stated if self.side == "at least" else low <= self.stated

    @property
    def promise(self) -> str:
        """The promised rate in words."""
        if self.stated is None:
            return ""
        if self.side == "at most" and not self.stated:
            return "never"
        return f"{self.side} {100 * self.stated:g}%"

    @property
    def verdict(self) -> str:
        """Whether the promise is kept, in words."""
        return {None: "", True: "holds", False: "**does not hold**"}[self.holds]


def markdown(rates: Iterable[Rate]) -> str:
    """The rates as a table of the documentation."""
    lines = ["| statement | promised | found | 95% interval | | |", "|---|---|---|---|---|---|"]
    for rate in rates:
        low, high = rate.interval
        found = f"{rate.count} of {rate.runs}"
        cells = (rate.statement, rate.promise, found, f"{low:.1%} to {high:.1%}", rate.verdict, rate.note)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pooled(rates: Iterable[Rate]) -> list[Rate]:
    """The rates of each kind of number, which is named at the end of a statement, together."""
    kinds = dict[str, list[Rate]]()
    for rate in rates:
        kinds.setdefault(rate.statement.split(": ")[-1].split(", ")[0], []).append(rate)
    found = []
    for kind, some in kinds.items():
        missed = sum(rate.holds is False for rate in some)
        note = f"{len(some)} settings" + (f", {missed} of which alone do not hold" if missed else "")
        count, runs = sum(rate.count for rate in some), sum(rate.runs for rate in some)
        found.append(Rate(kind, count, runs, some[0].stated, some[0].side, note))
    return found

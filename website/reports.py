"""Reports of experiments, and their tables in the pages: ``python -m website.reports RUN...`` stores reports.

A run is the folder of an experiment. Its rows, claims and processor time are kept in
``benchmarks/results/experiments``; ``python -m website.tables`` then fills the pages.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.stored import FOLDER
from ppl_vae.studies.claims import ONE_SEED
from ppl_vae.studies.decisions import test_in_words
from website.markdown import table

__all__ = ["TABLES", "Pivot", "claims", "fill", "store", "stored"]

REPORTS = FOLDER / "experiments"

MANY = 10
"""Claims that one seed cannot decide, of which no more have lines of their own."""


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


TABLES: dict[str, Sequence[Pivot | Lines | Crossed]] = {
    "gmm.md": [Lines("gmm")],
    "likelihood.md": [
        Pivot(
            "consistent_set",
            {
                "a b, trained": "coupling",
                "optimum": "limit of coupling",
                "likelihood, trained": "likelihood",
                "at the optimum": "limit of likelihood",
                "gap, trained": "gap",
                "gap at the optimum": "limit of gap",
            },
            "objective",
        )
    ],
    "boltzmann.md": [
        Pivot(
            "rbm",
            {
                "evidence": "test evidence",
                "ELBO": "test ELBO",
                "family gap": "test family gap",
                "amortisation gap": "test amortisation gap",
                "lost to likelihood training": "approximation error, eq. (4), train",
                "distance": "distance from a Boltzmann machine",
            },
            "prior, trained by",
        ),
        Pivot(
            "tight_text",
            {
                "evidence": "test evidence",
                "ELBO": "test ELBO",
                "family gap": "test family gap",
                "amortisation gap": "test amortisation gap",
            },
            "pair",
            digits=4,
        ),
    ],
    "rates.md": [
        Pivot(
            "rate_distortion_gmm",
            {"rate R": "R", "distortion D": "D", "ELBO": "ELBO", "evidence": "evidence", "information I": "I"},
            "guide, weight of the rate",
            sweep=True,
        ),
        Pivot(
            "toy_channel",
            {
                "rate": "rate",
                "distortion": "distortion",
                "ELBO": "ELBO",
                "I(z; true bit)": "I(z; true bit)",
                "distance": "distance",
            },
            "encoder, minimised",
            groups={
                f"encoder {encoder}, {cost}": f"{encoder}, {cost}"
                for encoder in ("affine in the level", "free table")
                for cost in ("ELBO", "D + |R - 0.5|", "least D at R = 0.5")
            },
        ),
    ],
    "sphere.md": [
        Crossed(
            "sphere",
            "dimensions and noise",
            ("radius", "r*"),
            {"radius": "radius: ", "lost evidence": "lost: "},
            {
                "radius, importance weights": "`radius`, weights",
                "radius, ELBO": "`radius`, ELBO",
                "network, importance weights": "network, weights",
                "network, ELBO": "network, ELBO",
            },
            4,
        )
    ],
    "ladder.md": [
        Pivot(
            "ladder",
            {
                f"`{guide}`": guide
                for guide in ("mean_field", "tree", "mixture", "autoregressive", "low_rank", "full", "flow")
            },
            "model",
            digits=4,
            limits=True,
        )
    ],
    "ppca.md": [
        Pivot(
            "ppca",
            {
                "likelihood": "likelihood",
                "closed form": "limit of likelihood",
                "gap": "gap",
                "active units": "active units",
                "in closed form": "limit of active units",
            },
            "data",
            digits=4,
        ),
        Pivot(
            "curved",
            {
                "evidence above the best line": "evidence above the best line",
                "the truth's": "limit of evidence above the best line",
                "gap": "gap",
                "curvature": "curvature",
            },
            "data, trained by",
        ),
    ],
}
"""Tables of reports by page, below the marker of their experiment."""


def stored(name: str) -> dict[str, Any]:
    """The stored report of an experiment."""
    content: dict[str, Any] = json.loads((REPORTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def claims(name: str) -> str:
    """The claims of a report and what became of them; p-values are adjusted over all of them.

    Those that one seed cannot decide are counted.
    """
    every = stored(name)["claims"]
    open_ones = [claim for claim in every if claim["reason"] == ONE_SEED]
    counted = len(open_ones) > MANY
    lines = [
        (claim["text"], claim["answer"], claim["figures"].replace("+-", "±"), test_in_words(claim))
        for claim in every
        if not (counted and claim in open_ones)
    ]
    if counted:
        lines.append((f"{len(open_ones)} claims about trained pairs", "undecided", "", ONE_SEED))
    return table("claim|answer|measured|test", lines)


def bills() -> str:
    """What ``--dry-run`` told of stored experiments beside what they took, in minutes of a processor."""
    lines = []
    for name in sorted(path.stem for path in REPORTS.glob("*.json")):
        report = stored(name)
        if (told := report["billed"]) is not None:
            took = report["seconds"]
            numbers = (f"{report['cells']}", f"{told / 60:.1f}", f"{took / 60:.1f}", f"{told / took:.2f}")
            lines.append((f"`{name} --preset {report['preset']}`", *numbers))
    return table("experiment|cells|told|took|told / took", lines)


def outcomes() -> str:
    """What became of the claims of each stored report, and what it cost."""
    lines = []
    for name in sorted(path.stem for path in REPORTS.glob("*.json")):
        report = stored(name)
        answers = Counter(claim["answer"] for claim in report["claims"])
        exact = sum(claim["exact"] for claim in report["claims"])
        counts = (f"{answers[answer]}" for answer in ("held", "did not hold", "undecided"))
        page = next((page for page, tables in TABLES.items() if any(each.experiment == name for each in tables)), "")
        link = f"[`{name}`]({page})" if page else f"`{name}`"
        hours = f"{report['seconds'] / 3600:.2f}"
        lines.append((link, report["preset"], *counts, f"{exact}", f"{report['level']:.0%}", report["date"], hours))
    return table("experiment|preset|held|did not hold|undecided|of these exact|level|date|core-hours", lines)


def fill() -> dict[str, dict[str, str]]:
    """Tables by page and marker."""
    of_reports = {
        page: {f"report of {each.experiment}": each.markdown() for each in tables}
        | {f"claims of {each.experiment}": claims(each.experiment) for each in tables}
        for page, tables in TABLES.items()
    }
    return of_reports | {"growing.md": {"bills": bills()}, "papers.md": {"outcomes": outcomes()}}


def store(run: Path) -> None:
    """Keeps the report of a finished experiment."""
    report, settings, took = (json.loads((run / f"{n}.json").read_text()) for n in ("report", "experiment", "took"))
    seconds = took["seconds"]
    content = {
        "preset": settings["preset"],
        "code": settings["code"],
        "torch": settings["versions"]["torch"],
        "date": f"{datetime.fromtimestamp((run / 'report.json').stat().st_mtime, UTC):%Y-%m-%d}",
        "cells": len(seconds["cells"]),
        "seconds": round(sum(seconds["cells"].values()) + seconds["rest"]),
        "billed": round(seconds["billed"]) if "billed" in seconds else None,
        **report,
    }
    REPORTS.mkdir(exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (REPORTS / f"{settings['experiment']}.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    for run in sys.argv[1:]:
        store(Path(run))


if __name__ == "__main__":
    main()

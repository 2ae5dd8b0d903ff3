"""Reports of experiments, and their tables in the pages: ``python -m website.reports RUN...`` stores reports.

A run is the folder of an experiment. Its rows, claims and processor time are kept in
``benchmarks/results/experiments``; ``python -m website.tables`` then fills the pages.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ppl_vae.studies.claims import ONE_SEED
from ppl_vae.studies.decisions import test_in_words
from website.markdown import table
from website.report_tables import Crossed, Lines, Pivot, keep, kept, stored

__all__ = ["TABLES", "claims", "fill", "store"]

MANY = 10
"""Claims that one seed cannot decide, of which no more have lines of their own."""


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
    for name in kept():
        report = stored(name)
        if (told := report["billed"]) is not None:
            took = report["seconds"]
            numbers = (f"{report['cells']}", f"{told / 60:.1f}", f"{took / 60:.1f}", f"{told / took:.2f}")
            lines.append((f"`{name} --preset {report['preset']}`", *numbers))
    return table("experiment|cells|told|took|told / took", lines)


def outcomes() -> str:
    """What became of the claims of each stored report, and what it cost."""
    lines = []
    for name in kept():
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
    keep(settings["experiment"], content)


def main() -> None:
    for run in sys.argv[1:]:
        store(Path(run))


if __name__ == "__main__":
    main()

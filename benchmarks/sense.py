"""How often the checks of a training's numbers are right: ``python -m benchmarks.sense``.

Shipped pairs at their defaults, on data that suit them, must have no note but those that say what is known of them; a
fault made on purpose must be found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

import ppl_vae as pv
from benchmarks.stored import fill_page, keep
from ppl_vae.runs.sense import CHECKS

PAGE = Path(__file__).parents[1] / "docs" / "training.md"

SHORT = "training too short"
"""May be said of every training: it is judged by a fit to what the training did."""


FAST: dict[str, Any] = {"learning_rate": 0.01}
"""Of faults that show at the end of a training only: at the defaults these are judged too short first."""


@dataclass(frozen=True)
class Case:
    """A training, and the checks that must find something in it.

    Arguments:
        name: What is trained, or what is wrong.
        model: Name of the model.
        guide: Name of the guide.
        data: A named corpus; or a function of a generator of random numbers to data.
        expected: Names of checks that must have a note; none of a training that goes well.
        options: Of :func:`ppl_vae.train`.
    """

    name: str
    model: str
    guide: str
    data: str | Callable[[np.random.Generator], Any]
    expected: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def line(random: np.random.Generator, data: int = 4_000, numbers: int = 4) -> Any:
    """Numbers around a line."""
    return random.normal(size=(data, 1)) * np.arange(1, numbers + 1) + 0.3 * random.normal(size=(data, numbers))


def long_documents(random: np.random.Generator) -> Any:
    """Documents of 200,000 words, of ten topics."""
    topics = random.dirichlet(np.full(500, 0.1), 10)
    return scipy.sparse.csr_matrix(np.stack([random.multinomial(200_000, topics[i % 10]) for i in range(300)]))


def constant(random: np.random.Generator) -> Any:
    """Numbers around a line, and one that is always 3."""
    return np.column_stack([line(random), np.full(4_000, 3.0)])


GOOD = (
    Case("gmm, full", "gmm", "full", "gaussians"),
    Case("gmm, mean_field", "gmm", "mean_field", "gaussians"),
    Case("gmm, autoregressive", "gmm", "autoregressive", "gaussians"),
    Case("ppca, mean_field", "ppca", "mean_field", line),
    Case(
        "ppca, low_rank, two latents",
        "ppca",
        "low_rank",
        lambda r: line(r) @ r.normal(size=(4, 4)),
        options={"latents": 2},
    ),
    Case("image_binary on bars, mean_field", "image_binary", "mean_field", "bars"),
    Case("text, linear_counts", "text", "linear_counts", "docstrings"),
    Case("text, tree", "text", "tree", "docstrings", options={"epochs": 20}),
)
"""Pairs that go well."""

FAULTS = (
    Case("five epochs", "ppca", "mean_field", line, (SHORT,), {"epochs": 5}),
    Case("a rate that costs a thousand times", "ppca", "mean_field", line, ("rate at zero",), {"beta": 1000.0}),
    Case(
        "two clusters far apart, one bit",
        "gmm",
        "mean_field",
        lambda r: np.where(r.random((4_000, 1)) < 0.5, -20, 20) + r.normal(size=(4_000, 2)),
        ("rate at its maximum",),
        {"bits": 1, "centres": "random", "learn_centres": True},
    ),
    Case("ten latents of a line", "ppca", "mean_field", line, ("collapsed units",), {"latents": 10} | FAST),
    Case("one epoch", "ppca", "mean_field", lambda r: 50 + line(r), ("ELBO below a baseline",), {"epochs": 1}),
    Case("documents of 200,000 words", "text", "linear_counts", long_documents, ("guide not learned",), {"epochs": 20}),
    Case("a hundred data", "ppca", "mean_field", lambda r: line(r, 100), ("few validation data",)),
    Case("a constant number", "ppca", "mean_field", constant, ("constant numbers",)),
    Case(
        "numbers rounded to 4",
        "ppca",
        "mean_field",
        lambda r: 4 * np.round(r.normal(size=(4_000, 1)) * np.ones(3)),
        ("sigma below the data's step",),
        {"scale": 0.2},
    ),
    Case("a floor of 2", "ppca", "mean_field", line, ("sigma at its floor",), {"floor": 2.0} | FAST),
    Case("numbers of 1e6 +- 1e-1", "ppca", "mean_field", lambda r: 1e6 + 0.1 * line(r), ("few digits",), {"epochs": 5}),
)
"""Faults made on purpose."""


def attempt(case: Case, folder: Path) -> dict[str, Any]:
    """Trains a case; returns its notes by check and what is wrong about them."""
    data = case.data if isinstance(case.data, str) else case.data(np.random.default_rng(0))
    if isinstance(data, np.ndarray):
        data = data.astype(np.float32)
    try:
        run = pv.train(case.model, case.guide, data, out=folder / "run", evidence_data=1_000, **case.options)
    except ValueError as error:
        return {"case": case.name, "expected": list(case.expected), "found": [], "fault": str(error)}
    summary = run.summary
    found = [each.check for each in summary.checks] if summary else []
    missed = [name for name in case.expected if name not in found]
    wrong = [] if case.expected else [name for name in found if name != SHORT]
    fault = "; ".join([*(f"{name} is missed" for name in missed), *(f"{name} is found" for name in wrong)])
    return {"case": case.name, "expected": list(case.expected), "found": found, "fault": fault}


def table() -> str:
    """The checks as a table of a page."""
    lines = ["| check | what is computed | threshold | because |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {c.name} | {c.computes} | {c.threshold:g} | {c.reason} |" for c in CHECKS])


def main() -> None:
    """Prints the table of cases, and stores it; ``--page`` writes the list of checks into the manual."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true", help="only write the checks into docs/training.md")
    parser.add_argument("--only", default="", help="only cases whose names hold this text; nothing is stored")
    options = parser.parse_args()
    if options.page:
        PAGE.write_text(fill_page(PAGE.read_text(encoding="utf-8"), "checks", table()), encoding="utf-8")
        return
    rows = []
    for case in (*FAULTS, *GOOD):
        if options.only in case.name:
            with tempfile.TemporaryDirectory(prefix="sense-") as folder:
                rows.append(attempt(case, Path(folder)))
            print(
                f"{case.name}: found {', '.join(rows[-1]['found']) or 'nothing'}; {rows[-1]['fault'] or 'right'}",
                flush=True,
            )
    if not options.only:
        keep("sense", rows)
    sys.exit(any(row["fault"] for row in rows))


if __name__ == "__main__":
    main()

"""Replications of a measurement, and how often what it states is true."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import torch

from benchmarks.coverage.oracles import Oracle

__all__ = ["Coverage", "markdown", "replicate"]

SERIOUS = 0.1
"""An error of the mean evidence that a user must be warned of, in nats per datum."""


@dataclass(frozen=True)
class Coverage:
    """What became of the statements about one pair.

    Arguments:
        oracle: The model.
        guide: The kind of guide.
        method: The evidence method.
        draws: Samples, or chains, per datum.
        runs: Number of replications, each on new data.
        shortfall: Mean of truth minus evidence, in nats per datum.
        two_se: Share of runs whose mean +- 2 standard errors contains the truth.
        at_least: Share of runs in which the truth is above the stated limit, by promise at least 0.95.
        slack: Mean slack on simulated data, in nats per datum.
        bracket: Share of runs in which the truth lies between the limit and the mean plus slack plus two standard
            errors of both.
        warned: Share of runs with a warning of the slack.
        warned_k_hat: Share of runs with a warning of k-hat.
        serious: Share of runs whose evidence is short by more than 0.1 nats per datum.
        unwarned: Share of runs that are short by more than 0.5 nats per datum and not warned of.
        wrong_exact: Runs whose evidence is called exact and is off by more than 1e-3 nats per datum.
    """

    oracle: str
    guide: str
    method: str
    draws: int
    runs: int
    shortfall: float
    two_se: float
    at_least: float
    slack: float
    bracket: float
    warned: float
    warned_k_hat: float
    serious: float
    unwarned: float
    wrong_exact: int


def replicate(
    kind: type[Oracle], guide: str, method: str, draws: int, runs: int, data: int = 50, **options: float
) -> Coverage:
    """Measures new data again and again and counts which statements are true."""
    import ppl_vae as pv

    rows = []
    oracle = kind(0)
    oracle.kind = guide
    for run in range(runs):
        oracle.rng = np.random.default_rng(1000 + run)
        torch.manual_seed(run)
        x = oracle.data(data)
        truth = oracle.evidence(x.double().numpy()).mean()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = pv.measure(oracle.model, oracle.guide, x, method=method, draws=draws, check=True, **options)
        estimate, slack = result.evidence, result.slack
        limit = estimate.at_least()
        short = truth - estimate.mean
        missed, error = (max(slack.mean, 0.0), slack.se) if slack else (0.0, 0.0)
        high = estimate.mean + missed + 2 * (estimate.se**2 + error**2) ** 0.5
        lines = [line for line in estimate.warnings if "misses" in line]
        rows.append(
            {
                "short": short,
                "two_se": abs(short) <= 2 * estimate.se + 1e-6,
                "at_least": limit is not None and truth >= limit - 1e-6,
                "slack": slack.mean if slack else 0.0,
                "bracket": limit is not None and limit - 1e-6 <= truth <= high + 1e-6,
                "warned": bool(lines),
                "k_hat": any("k-hat" in line for line in estimate.warnings),
                "serious": short > SERIOUS,
                "unwarned": short > 0.5 and not estimate.warnings,
                "wrong_exact": estimate.bound == "exact" and abs(short) > 1e-3,
            }
        )
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return Coverage(
        kind.__name__,
        guide,
        method,
        draws,
        runs,
        mean["short"],
        mean["two_se"],
        mean["at_least"],
        mean["slack"],
        mean["bracket"],
        mean["warned"],
        mean["k_hat"],
        mean["serious"],
        mean["unwarned"],
        sum(bool(row["wrong_exact"]) for row in rows),
    )


HEADS = {
    "oracle": "model",
    "guide": "guide",
    "method": "method",
    "draws": "draws",
    "shortfall": "short by (nats)",
    "two_se": "mean ± 2 s.e. covers",
    "at_least": "limit holds",
    "slack": "slack (nats)",
    "bracket": "bracket covers",
    "serious": "short by > 0.1",
    "warned": "warned by slack",
    "warned_k_hat": "warned by k-hat",
    "unwarned": "short by > 0.5, unwarned",
    "wrong_exact": "wrong exact",
}


def markdown(rows: Iterable[Coverage]) -> str:
    """The table of the documentation."""
    lines = ["| " + " | ".join(HEADS.values()) + " |", "|" + "---|" * len(HEADS)]
    for row in rows:
        values = asdict(row)
        cells = [f"{values[name]:.3g}" if isinstance(values[name], float) else str(values[name]) for name in HEADS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)

"""Guides built to deceive: for each, what is printed about the evidence, and the truth."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.coverage.guides import KINDS, Guide
from benchmarks.coverage.nastier import Curve, HeavyTails, Plane, Step, Unseen
from benchmarks.coverage.oracles import Bits, Oracle, RareBit
from benchmarks.coverage.rates import Rate
from benchmarks.coverage.replications import limits
from benchmarks.coverage.several import EightModes, Funnel, Labels, SpikeAndSlab

__all__ = ["METHODS", "MODELS", "Case", "Outcome", "cases", "examine", "rates"]

MODELS: tuple[type[Oracle], ...] = (
    Curve,
    Plane,
    Bits,
    RareBit,
    HeavyTails,
    Step,
    Unseen,
    SpikeAndSlab,
    Funnel,
    EightModes,
    Labels,
)

METHODS: dict[str, dict[str, Any]] = {
    "auto": {},
    "importance": {"method": "importance", "draws": 100},
    "importance --check": {"method": "importance", "draws": 100, "check": True},
    "annealing": {"method": "annealing", "draws": 8, "temperatures": 50},
}
"""Options of :func:`ppl_vae.measure`."""

EXACT = 1e-3
"""Largest error of an exact evidence, in nats per datum."""

SERIOUS = 0.5
"""Error of the mean evidence that must not pass without a warning, in nats per datum."""


@dataclass(frozen=True)
class Case:
    """A model, a guide that is wrong in some way, and data.

    Arguments:
        seed: Its number.
        oracle: The model.
        guide: The guide.
        data: Number of data: one, twenty or two hundred.
        stretch: How far out the latents of the data lie, as a multiple of the prior's.
    """

    seed: int
    oracle: Oracle
    guide: Guide
    data: int
    stretch: float


@dataclass(frozen=True)
class Outcome:
    """What was printed about a case.

    Arguments:
        seed: Number of the case.
        model: Name of the model.
        guide: What is wrong with the guide.
        data: Number of data.
        method: Evidence method asked for.
        bound: Direction of the evidence.
        error: Truth minus evidence, in nats per datum.
        lower: Lower end of the bracket; None without one.
        upper: Upper end of the bracket; None where it is unknown.
        truth: Mean of log p(x).
        warned: Whether anything was warned of.
        message: The error by which the measurement was refused.
    """

    seed: int
    model: str
    guide: str
    data: int
    method: str
    bound: str = ""
    error: float = 0.0
    lower: float | None = None
    upper: float | None = None
    truth: float = 0.0
    warned: bool = False
    message: str = ""

    @property
    def wrong_exact(self) -> bool:
        return self.bound == "exact" and abs(self.error) > EXACT

    @property
    def missed(self) -> bool:
        """Whether the bracket misses the truth."""
        low = self.lower is not None and self.lower > self.truth + EXACT
        return low or (self.upper is not None and self.upper < self.truth - EXACT)

    @property
    def silent(self) -> bool:
        """Whether it is seriously wrong and not warned of."""
        return abs(self.error) > SERIOUS and not self.warned


def cases(count: int) -> Iterator[Case]:
    """Cases by seed: every model meets every kind of guide in turn."""
    for seed in range(count):
        turn, rng = divmod(seed, len(MODELS))[0], np.random.default_rng(seed)
        oracle = MODELS[seed % len(MODELS)](seed)
        kind = KINDS[(turn + seed % len(MODELS)) % len(KINDS)]
        yield Case(seed, oracle, Guide(oracle, kind, seed), int(rng.choice([1, 20, 200])), float(rng.choice([1, 1, 2])))


def examine(case: Case, method: str) -> Outcome:
    """Measures a case as a user would and compares with the truth."""
    import ppl_vae as pv

    name = (case.seed, type(case.oracle).__name__, case.guide.kind.__name__, case.data, method)
    case.oracle.rng = np.random.default_rng(10_000 + case.seed)
    x = case.oracle.data(case.data, case.stretch)
    if not method.startswith("importance"):
        x = x[:20]  # chains and quadratures are costly
    truth = float(case.oracle.evidence(x.double().numpy()).mean())
    torch.manual_seed(case.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = pv.measure(case.oracle.model, case.guide, x, **METHODS[method])
        except ValueError as error:
            return Outcome(*name, truth=truth, message=str(error))
    error = truth - found.evidence.mean
    return Outcome(*name, found.evidence.bound, error, *limits(found), truth, bool(found.warnings))


def rates(outcomes: Iterable[Outcome]) -> list[Rate]:
    """What was promised about the cases, method by method, and how often it held."""
    found = []
    for method in METHODS:
        some = [outcome for outcome in outcomes if outcome.method == method and not outcome.message]
        if not some:
            continue
        closed = [outcome for outcome in some if outcome.upper is not None and outcome.bound != "exact"]
        below = sum(outcome.missed for outcome in some if outcome.upper is None)
        open_above = sum(outcome.upper is None for outcome in some)
        serious = sum(abs(outcome.error) > SERIOUS for outcome in some)
        exact = sum(outcome.bound == "exact" for outcome in some)
        count, name = len(some), f"`{method}`: "
        missed = sum(outcome.missed for outcome in closed)
        found += [
            Rate(
                name + "called exact and wrong",
                sum(o.wrong_exact for o in some),
                count,
                0.0,
                "at most",
                f"{exact} exact",
            ),
            Rate(name + "a bracket with two ends misses the truth", missed, len(closed), 0.05, "at most"),
            Rate(name + "the lower end alone is above the truth", below, open_above, 0.025, "at most"),
            Rate(
                name + f"off by over {SERIOUS} nats without a warning",
                sum(outcome.silent for outcome in some),
                count,
                0.02,
                "at most",
                f"{serious} off by as much, {sum(outcome.warned for outcome in some)} warned of",
            ),
            Rate(name + "unknown above", open_above, count),
        ]
    return found

"""Warnings of a measurement against its true error: how often each is right, over random pairs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.coverage.adversarial import MODELS, Case
from benchmarks.coverage.guides import KINDS, Guide, good
from benchmarks.coverage.rates import Rate

__all__ = ["Alarm", "pairs", "rates", "sound"]

DRAWS = (20, 100, 1000)

SHARE, LEAST, MOST = 0.1, 0.01, 0.5
"""An error that a reader must be warned of: a tenth of the true gap and 0.01 nats, or half a nat."""


@dataclass(frozen=True)
class Alarm:
    """One measurement of 50 data by importance sampling, checked on simulated data.

    Arguments:
        seed: Number of the pair.
        model: Name of the model.
        guide: What is wrong with the guide.
        draws: Samples of the guide per datum.
        error: Truth minus evidence, in nats per datum.
        gap: Truth minus ELBO.
        shortfall: What the method misses of the evidence of simulated data.
        high: Share of data whose k-hat is over the limit of Vehtari et al. (2024).
        by_shortfall: Whether the shortfall was warned of.
        by_k_hat: Whether the k-hat was.
        warned: Whether anything was.
    """

    seed: int
    model: str
    guide: str
    draws: int
    error: float
    gap: float
    shortfall: float
    high: float
    by_shortfall: bool
    by_k_hat: bool
    warned: bool

    @property
    def due(self) -> bool:
        """Whether a reader must be warned."""
        return self.error > min(max(SHARE * self.gap, LEAST), MOST)


def pairs(count: int) -> Iterator[tuple[Case, int]]:
    """Random pairs and numbers of draws: a third of the guides are good, the others wrong in some way."""
    for seed in range(count):
        rng = np.random.default_rng(50_000 + seed)
        oracle = MODELS[rng.integers(len(MODELS))](seed)
        kind = good if rng.uniform() < 1 / 3 else KINDS[rng.integers(len(KINDS))]
        yield Case(seed, oracle, Guide(oracle, kind, seed), 50, 1.0), int(rng.choice(DRAWS))


def sound(case: Case, draws: int) -> Alarm | None:
    """Measures a pair and says what was warned of; None where it is refused.

    A guide around the highest point of a posterior of two modes of one height may take either, by rounding.
    """
    import ppl_vae as pv
    from ppl_vae.evidence.psis import k_hat_limit

    case.oracle.rng = np.random.default_rng(60_000 + case.seed)
    x = case.oracle.data(case.data)
    truth = float(case.oracle.evidence(x.double().numpy()).mean())
    torch.manual_seed(case.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = pv.measure(case.oracle.model, case.guide, x, method="importance", draws=draws, check=True)
        except ValueError:
            return None
    shapes = found.evidence.k_hat
    return Alarm(
        case.seed,
        type(case.oracle).__name__,
        case.guide.kind.__name__,
        draws,
        truth - found.evidence.mean,
        truth - found.elbo.mean,
        found.shortfall.mean if found.shortfall else float("nan"),
        0.0 if shapes is None else float((shapes > k_hat_limit(draws)).double().mean()),
        any("misses" in line for line in found.warnings),
        any("k-hat" in line for line in found.warnings),
        bool(found.warnings),
    )


UNLIKE = ("Step", "Unseen")
"""Models of which half of the data are of a kind that they hardly ever make."""

WARNINGS: dict[str, Callable[[Alarm], bool]] = {
    "of the shortfall": lambda alarm: alarm.by_shortfall,
    "of k-hat": lambda alarm: alarm.by_k_hat,
    "of any kind": lambda alarm: alarm.warned,
}


def rates(measured: Iterable[Alarm | None]) -> list[Rate]:
    """True and false positive rates of each warning, apart for data that the model hardly makes."""
    every = list(measured)
    alarms = [alarm for alarm in every if alarm is not None]
    strange = [alarm.model in UNLIKE for alarm in alarms]
    found = [Rate("measured, and not refused", len(alarms), len(every))]
    for whose, unlike in (("the model's own data", False), ("data unlike the model's", True)):
        some = [alarm for alarm, other in zip(alarms, strange, strict=True) if other is unlike]
        due, undue = [a for a in some if a.due], [a for a in some if not a.due]
        for name, warned in WARNINGS.items():
            found.append(Rate(f"{whose}: warned {name} where it is due", sum(map(warned, due)), len(due)))
            found.append(Rate(f"{whose}: warned {name} where it is not", sum(map(warned, undue)), len(undue)))
    return found

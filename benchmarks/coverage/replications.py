"""One replication: new data of a model, measured and compared with the truth."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.coverage.guides import Guide
from benchmarks.coverage.rates import Rate
from benchmarks.structures.structure import Array

if TYPE_CHECKING:
    from ppl_vae.evidence.results import Evidence

__all__ = ["Replication", "bracket", "limits", "mean_of", "replicate"]


@dataclass(frozen=True)
class Replication:
    """What was found of some data, and the truth.

    Arguments:
        found: The measurement.
        x: The data.
        truth: log p(x) of each datum.
    """

    found: Evidence
    x: Tensor
    truth: Array

    @property
    def mean(self) -> float:
        """Mean of log p(x) over these data."""
        return float(self.truth.mean())

    @property
    def error(self) -> float:
        """Truth minus evidence, in nats per datum."""
        return self.mean - self.found.evidence.mean

    @property
    def too_high(self) -> bool:
        """Whether the lower end of the bracket is above the truth."""
        low = limits(self.found)[0]
        return low is not None and low > self.mean + 1e-4

    @property
    def closed(self) -> bool:
        """Whether something is said about how high the evidence may be."""
        return limits(self.found)[1] is not None

    @property
    def too_low(self) -> bool:
        """Whether the upper end is below the truth."""
        high = limits(self.found)[1]
        return high is not None and high < self.mean - 1e-4


def limits(found: Evidence) -> tuple[float | None, float | None]:
    """Both ends of the bracket that is printed; None where an end is unknown."""
    bracket = found.bracket()
    return (found.evidence.mean,) * 2 if bracket is None else (bracket.lower, bracket.upper)


def replicate(guide: Guide, seed: int, count: int, stretch: float = 1.0, **options: Any) -> Replication:
    """Draws data, and measures them with the options of :func:`ppl_vae.measure`."""
    import ppl_vae as pv

    oracle = guide.oracle
    oracle.rng = np.random.default_rng(100_000 + seed)
    x = oracle.data(count, stretch)
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pv.measure(oracle.model, guide, x, **options)
    return Replication(found, x, oracle.evidence(x.double().numpy()))


def bracket(name: str, some: list[Replication]) -> Rate:
    """How often brackets with both ends hold the truth; how often there is but a lower end, and that is too high."""
    closed = [each for each in some if each.closed]
    high = sum(each.too_high for each in some if not each.closed)
    held = sum(not (each.too_high or each.too_low) for each in closed)
    note = (
        f"short by {mean_of(each.error for each in some)}; unknown above in {len(some) - len(closed)} of {len(some)}"
        + (f", {high} of them too high" if high else "")
    )
    return Rate(f"{name}: bracket with two ends holds the truth", held, len(closed), 0.95, note=note)


def mean_of(values: Iterable[float]) -> str:
    """A mean over replications and its standard error, for a note."""
    numbers = np.array(list(values))
    return f"{numbers.mean():+.3f} ± {numbers.std(ddof=1) / len(numbers) ** 0.5:.3f}"

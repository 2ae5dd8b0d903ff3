"""A difference of two numbers of the same data, paired by datum, with what is known of its error."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ppl_vae.evidence.estimate import Estimate, finite
from ppl_vae.evidence.intervals import Ends, Interval, ends, minus, of_population, of_these_data

__all__ = ["Difference"]


@dataclass(frozen=True)
class Difference:
    """A mean difference of two numbers of the same data, in nats per datum.

    Arguments:
        estimate: The first number minus the second of each datum.
        known: What is at most and at least the true difference, in expectation; of two bounds on the same side neither.
        zero: Whether it is zero since both are numbers of one model.
    """

    estimate: Estimate
    known: Ends
    zero: bool = False

    @classmethod
    def of(cls, one: Estimate, other: Estimate, *, one_model: bool = False) -> Difference:
        """The first estimate minus the second.

        Arguments:
            one: The first.
            other: The second.
            one_model: Whether both estimate the evidence of one and the same model.
        """
        one, other = _precise(one), _precise(other)
        estimate = one.minus(other)
        if one_model:
            nothing = Estimate(0 * other.pointwise, "one model", "exact")
            return cls(nothing, ends(nothing), zero=True)
        return cls(estimate, minus(ends(one), ends(other)))

    @property
    def pointwise(self) -> Tensor:
        """One difference per datum, ``(data,)``."""
        return self.estimate.pointwise

    @property
    def mean(self) -> float:
        """The difference of the two means."""
        return self.estimate.mean

    @property
    def se(self) -> float:
        """Standard error as a difference of the population of the data, in which the noise of the draws is included."""
        return math.hypot(self.estimate.data_se, self.estimate.common_se)

    @property
    def interval(self) -> Interval:
        """Where the true difference of the population of the data lies, at 95% confidence."""
        return of_population(self.known)

    def to_json(self) -> dict[str, Any]:
        """Mean, errors and intervals; ``se`` is over the data, ``monte_carlo_se`` the part of the draws."""
        return {
            "mean": finite(self.mean),
            "se": finite(self.se),
            "monte_carlo_se": finite(self.estimate.se),
            "bound": self.estimate.bound,
            "data_95": of_these_data(self.known).to_json(),
            "population_95": self.interval.to_json(),
            "zero_by_construction": self.zero,
            "data": len(self.pointwise),
        }

    def __str__(self) -> str:
        if self.zero:
            return "0 (one model)"
        if self.estimate.bound in ("exact", "unbiased"):
            return f"{round(self.mean, 3) + 0.0:.3f} +- {self.se:.2g}"
        return str(self.interval)


def _precise(estimate: Estimate) -> Estimate:
    """The same in float64 on the CPU: runs may have been measured on different devices."""
    error, upper, lower = estimate.pointwise_se, estimate.upper, estimate.lower
    return replace(
        estimate,
        pointwise=estimate.pointwise.double().cpu(),
        pointwise_se=None if error is None else error.double().cpu(),
        upper=upper and _precise(upper),
        lower=lower and _precise(lower),
    )

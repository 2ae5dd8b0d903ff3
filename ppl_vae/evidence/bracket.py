"""A bracket of log p(x): a lower and an upper limit of its mean over the data, at a stated level."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ppl_vae.evidence.estimate import Estimate, finite
from ppl_vae.evidence.intervals import LEVEL, Interval, monte_carlo_margin, over_data
from ppl_vae.evidence.upper import distrust_simulated, distrust_weights

__all__ = ["Bracket", "UpperLimit", "bracket_of", "bracket_of_gap"]

SHOWN = 0.01
"""Nats of the lower limit, due to few data, that are worth a word."""


@dataclass(frozen=True)
class UpperLimit:
    """One upper limit of the mean of log p(x) over the data.

    Arguments:
        value: The limit, in nats per datum; None where it is not valid.
        method: Where it comes from.
        validity: What it rests on; where there is no value, why there is none.
    """

    value: float | None
    method: str
    validity: str

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "method": self.method, "validity": self.validity}


@dataclass(frozen=True)
class Bracket:
    """Lower and upper limit of a mean over the data, in nats per datum.

    Arguments:
        lower: The lower limit; None where it is unknown.
        upper: The upper limit, the largest of those that are valid; None where there is none.
        level: Probability with which the mean lies between them, half of the rest on either side.
        uppers: The upper limits by method.
        of: What lies between them.
        remedy: What may give an upper limit where there is none.
        markov: Nats by which the lower limit lies below the estimate by Markov's inequality.
        data: Number of data.
    """

    lower: float | None
    upper: float | None
    level: float
    uppers: tuple[UpperLimit, ...] = ()
    of: str = "mean log p(x)"
    remedy: str = ""
    markov: float = 0.0
    data: int = 0

    @property
    def reason(self) -> str:
        """Why there is no upper limit, and what may give one; empty where there is one."""
        if self.upper is not None:
            return ""
        methods: dict[str, list[str]] = {}
        for limit in self.uppers:
            methods.setdefault(limit.validity, []).append(limit.method)
        lines = [f"{' and '.join(names)}: {why}" for why, names in methods.items()]
        return "; ".join([*lines, *filter(None, [self.remedy])])

    def __contains__(self, value: float) -> bool:
        """Whether a value lies within; an unknown limit excludes none."""
        return value in Interval(self.lower, self.upper)

    def __str__(self) -> str:
        head, low = f"{self.level:.0%} bracket:", "" if self.lower is None else f"{_figure(self.lower)} <= "
        if self.upper is None:
            above = f"unknown above: {self.reason}"
            return (
                f"{head} {low}{self.of}, {above}{self._below()}"
                if low
                else f"{head} {self.of} is unknown below and {above}"
            )
        methods = "; ".join(limit.method for limit in self.uppers if limit.value is not None)
        return f"{head} {low}{self.of} <= {_figure(self.upper)}{f' ({methods})' if methods else ''}{self._below()}"

    def _below(self) -> str:
        """What few data cost the lower limit; empty where that does not show."""
        if not self.lower or self.markov < SHOWN:
            return ""
        below = f"the lower limit is {self.markov:.3f} below the estimate"
        return f"; {below}, as it must be with {self.data} data: more narrow it"

    def to_json(self) -> dict[str, Any]:
        content = {"lower": self.lower, "upper": self.upper, "level": self.level}
        return content | {"uppers": [limit.to_json() for limit in self.uppers], "unknown_above": self.reason or None}


def bracket_of(evidence: Estimate, level: float = LEVEL) -> Bracket | None:
    r"""The bracket of an estimate of log p(x); None if it is exact.

    The lower limit is that of Markov's inequality (:meth:`~ppl_vae.evidence.estimate.Estimate.at_least`). The upper
    one is the largest of

    - leave-one-out weights (:func:`~ppl_vae.evidence.leave_one_out.leave_one_out`), an upper bound in expectation on
      these very data, and Student's t times its error;
    - simulated data (:class:`~ppl_vae.evidence.shortfall.Shortfall`): the estimate plus what its method misses of data
      drawn from the model, and Student's t times the error of both.

    Arguments:
        evidence: The estimate.
        level: Probability with which the mean lies in the bracket, half of the rest on either side.
    """
    if evidence.bound == "exact":
        return None
    uppers = tuple(_uppers(evidence, level))
    bound = evidence.lower or evidence
    lower = None if evidence.common_se else bound.at_least((1 + level) / 2)
    lower, below = (None, 0.0) if lower is None else (finite(lower), bound.mean - lower)
    return Bracket(
        lower, _highest(uppers), level, uppers, "mean log p(x)", _remedy(evidence), below, len(evidence.pointwise)
    )


def _remedy(evidence: Estimate) -> str:
    """Methods besides that of an estimate that may give an upper limit; empty where none can."""
    if evidence.common_se:
        return ""
    signs = {"best_member": "best members", "annealing": "annealing"}
    others = " or ".join(name for name, sign in signs.items() if sign not in evidence.method)
    return f"the method {others} (--method, method=; of a gap --evidence, evidence=) may know"


def _uppers(evidence: Estimate, level: float) -> Iterator[UpperLimit]:
    reason, upper = distrust_weights(evidence), evidence.upper
    if reason or upper is None:
        yield UpperLimit(None, "leave-one-out weights", reason)
    else:
        value = upper.mean + monte_carlo_margin(upper, level)
        validity = "in expectation, if guide and prior leave out no part of the posterior"
        yield UpperLimit(finite(value), "leave-one-out weights", validity)
    shortfall = evidence.shortfall
    if shortfall is None:
        return
    if reason := distrust_simulated(evidence):
        yield UpperLimit(None, "simulated data", reason)
    else:
        error = math.hypot(over_data(shortfall.pointwise, level)[1], monte_carlo_margin(evidence, level))
        validity = "as far as the data resemble those that the model generates"
        yield UpperLimit(finite(evidence.mean + max(shortfall.mean, 0.0) + error), "simulated data", validity)


def bracket_of_gap(
    evidence: Estimate, bound: Estimate, level: float = LEVEL, *, of: str = "mean gap", best: bool = False
) -> Bracket | None:
    """The bracket of the evidence minus a bound; None if the evidence is exact.

    Half of the chance to miss is the evidence's, half the bound's, unless that is exact. The gap is a Kullback-Leibler
    divergence: neither limit is below zero.

    Arguments:
        evidence: The estimate of log p(x).
        bound: The ELBO of a guide, or that of the best member found of a family.
        level: Probability with which the mean lies in the bracket.
        of: What lies in it.
        best: Whether the bound is that of a best member, which may have been missed: the lower limit is then zero.
    """
    each = level if bound.bound == "exact" else (1 + level) / 2
    bracket, margin = bracket_of(evidence, each), monte_carlo_margin(bound, each)
    if bracket is None:
        return None
    low = None if bracket.lower is None else _at_least_zero(bracket.lower - bound.mean - margin)
    uppers = tuple(
        limit if limit.value is None else replace(limit, value=_at_least_zero(limit.value - bound.mean + margin))
        for limit in bracket.uppers
    )
    return replace(bracket, lower=0.0 if best else low, upper=_highest(uppers), level=level, uppers=uppers, of=of)


def _at_least_zero(value: float) -> float | None:
    return finite(max(value, 0.0))


def _highest(uppers: tuple[UpperLimit, ...]) -> float | None:
    return max((limit.value for limit in uppers if limit.value is not None), default=None)


def _figure(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"

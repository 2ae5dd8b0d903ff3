r"""Claims of a report, each with the p-values of its two null hypotheses: that it is false, and that it is true.

A claim about a mean is tested by one-sided Student's t-tests, over seeds where the claim is about training, over data
where it is about trained pairs as they are. :mod:`ppl_vae.studies.decisions` decides all claims of a report together.

Student's t has its level where the values are independent draws from one normal distribution, and nearly so where they
are many; of a few seeds with a skewed distribution it has not, and no test of a mean has one for every distribution
(Bahadur and Savage 1956). One seed decides nothing about training.

Statements without sampling error (limits, closed forms, bounds checked datum by datum) are :meth:`Claim.exact`: they
are true or false, are not tested, and do not count in Holm's procedure.

References:
    D. J. Schuirmann (1987), two one-sided tests of equivalence. R. L. Berger (1982), intersection-union tests. R. R.
    Bahadur and L. J. Savage (1956), The nonexistence of certain statistical procedures in nonparametric problems.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["ONE_SEED", "Claim", "Over"]

Over = Literal["seeds", "data"]

ONE_SEED = "one seed decides nothing about training"
"""Why a claim about training is undecided with a single seed."""

EQUAL = 1e-12
"""Distance at which two numbers count as equal, relative to the larger one or to 1: rounding is no sampling error."""


@dataclass(frozen=True)
class Claim:
    """A sentence with the p-values of its two null hypotheses; made by the constructors below.

    Arguments:
        text: The sentence.
        figures: The numbers it rests on.
        p_false: p-value of "the claim is false": small if the claim holds.
        p_true: p-value of "the claim is true": small if the claim does not hold.
        reason: Why nothing can be decided, if that is so whatever the numbers are.
        is_exact: Whether the statement has no sampling error.
    """

    text: str
    figures: str
    p_false: float
    p_true: float
    reason: str = ""
    is_exact: bool = False

    @classmethod
    def exact(cls, text: str, holds: bool, figures: str) -> Claim:
        """A statement without sampling error, which is not tested. Never of numbers that training could make false."""
        return cls(text, figures, 0.0 if holds else 1.0, 1.0 if holds else 0.0, is_exact=True)

    @classmethod
    def greater(
        cls, text: str, values: Iterable[float], by: float = 0.0, *, over: Over = "seeds", figures: str = ""
    ) -> Claim:
        """The mean of what the values are drawn from is greater than a bound.

        Arguments:
            text: The claim.
            values: One per seed, or one per datum; differences of paired quantities for a comparison.
            by: The bound.
            over: What the values are a sample of. ``"data"`` is for statements about trained pairs as they are.
            figures: Further numbers to print.

        Example:
            >>> claim = Claim.greater("the ELBO rises", [0.31, 0.27, 0.35])
            >>> claim.figures, round(claim.p_false, 4)
            ('+0.31 +- 0.023 over 3 seeds', 0.0028)
        """
        return cls._mean(text, values, lambda test: (test(by), test(by, below=True)), over, figures)

    @classmethod
    def below(
        cls, text: str, values: Iterable[float], bound: float = 0.0, *, over: Over = "seeds", figures: str = ""
    ) -> Claim:
        """The mean of what the values are drawn from is below a bound; arguments as of :meth:`greater`."""
        return cls._mean(text, values, lambda test: (test(bound, below=True), test(bound)), over, figures)

    @classmethod
    def within(
        cls,
        text: str,
        values: Iterable[float],
        tolerance: float,
        of: float = 0.0,
        *,
        over: Over = "seeds",
        figures: str = "",
    ) -> Claim:
        """The mean is within a tolerance of a number: an equivalence test by two one-sided tests.

        That the mean is outside is shown on either side, so its p-value is twice the smaller one (Bonferroni).
        Arguments as of :meth:`greater`.
        """
        low, high = of - tolerance, of + tolerance

        def p_values(test: _OneSidedTest) -> tuple[float, float]:
            outside = min(test(low, below=True), test(high))
            return max(test(low), test(high, below=True)), min(1.0, 2 * outside)

        return cls._mean(text, values, p_values, over, figures)

    @classmethod
    def estimate(cls, text: str, mean: float, se: float, by: float = 0.0) -> Claim:
        """A number known with a standard error, by many draws, is greater than a bound: a z-test.

        Without an error the number decides by itself; at the bound, but for rounding, nothing is decided.
        """
        figures = f"{mean:+.3g} +- {se:.2g}"
        if not (math.isfinite(mean) and math.isfinite(se)):
            return cls(text, figures, 1.0, 1.0, "not finite")
        if se == 0 and _are_equal(mean, by):
            return cls(text, figures, 1.0, 1.0, "at the bound, but for rounding")
        if se == 0:
            return cls(text, figures, *((0.0, 1.0) if mean > by else (1.0, 0.0)))
        z = (mean - by) / (se * math.sqrt(2))
        return cls(text, figures, math.erfc(z) / 2, math.erfc(-z) / 2)

    @classmethod
    def every(cls, text: str, claims: Sequence[Claim], figures: str = "") -> Claim:
        """A claim that holds if all of a family do: an intersection-union test.

        The family is shown to hold when each member is, so "the claim is false" has the largest of their p-values; it
        is shown not to hold when any member is, so "the claim is true" has the smallest times their number
        (Bonferroni). No independence is assumed.

        Arguments:
            text: The claim.
            claims: The family, each with a short text.
            figures: Further numbers to print.

        Raises:
            ValueError: If the family is empty.
        """
        if not claims:
            raise ValueError(f"the claim {text!r} is about no cases; leave it out")
        if all(claim.is_exact for claim in claims):
            failed = [claim for claim in claims if claim.p_true == 0]
            shown = "; ".join(f"{claim.text}: {claim.figures}" for claim in (failed or claims)[:3])
            return cls.exact(text, not failed, _joined(shown, figures))
        decisive = max(claims, key=lambda claim: (claim.p_false, -claim.p_true))
        p_true = min(1.0, len(claims) * min(claim.p_true for claim in claims))
        reason = next((claim.reason for claim in claims if claim.reason), "") if p_true == 1 else ""
        cases = f"{len(claims)} cases, decisive " if len(claims) > 1 else ""
        shown = f"{cases}{decisive.text}: {decisive.figures}"
        return cls(text, _joined(shown, figures), decisive.p_false, p_true, reason)

    @classmethod
    def some(cls, text: str, claims: Sequence[Claim], figures: str = "") -> Claim:
        """A claim that holds if at least one of a family does: :meth:`every` with the two null hypotheses exchanged.

        Where the best of several is chosen by the very numbers that are tested, this pays for the choice.
        """
        opposite = cls.every(text, [claim._opposite() for claim in claims], figures)
        return opposite._opposite()

    def _opposite(self) -> Claim:
        return replace(self, p_false=self.p_true, p_true=self.p_false)

    @classmethod
    def _mean(
        cls,
        text: str,
        sample: Iterable[float],
        p_values: Callable[[_OneSidedTest], tuple[float, float]],
        over: Over,
        figures: str,
    ) -> Claim:
        """A claim about the mean of what the values are drawn from."""
        values = [float(value) for value in sample]
        count = len(values)
        if not count:
            raise ValueError(f"the claim {text!r} has no values; leave it out")
        if not all(math.isfinite(value) for value in values):
            shown = ", ".join(f"{value:.4g}" for value in values if not math.isfinite(value))
            return cls(text, _joined(f"{shown} among {count} {over}", figures), 1.0, 1.0, "not finite")
        test = _OneSidedTest(values)
        if count == 1:
            reason = ONE_SEED if over == "seeds" else "one datum has no error"
            return cls(text, _joined(f"{values[0]:+.4g}", figures), 1.0, 1.0, reason)
        p_false, p_true = p_values(test)
        shown = f"{test.mean:+.4g} +- {test.se:.2g} over {count} {over}"
        return cls(text, _joined(shown, figures), p_false, p_true)


class _OneSidedTest:
    """p-values of one-sided tests of the mean of a sample.

    Where all values are equal Student's t knows no error, and the sign test stands in: n values on one side of a bound
    have the p-value 2^-n, values on the bound 1. It is a test of the median, which is the mean of every symmetric
    distribution, and so of the normal ones that Student's t assumes; under those alone equal values would be certain.
    """

    def __init__(self, values: Sequence[float]) -> None:
        self.count = len(values)
        self.mean = math.fsum(values) / self.count
        squares = math.fsum((value - self.mean) ** 2 for value in values)
        self.se = math.sqrt(squares / max(self.count - 1, 1) / self.count)
        self.are_equal = _are_equal(max(values), min(values))

    def __call__(self, bound: float, below: bool = False) -> float:
        """p-value of "the mean is not greater than the bound", or of "it is not below"."""
        from scipy.special import stdtr

        distance = (bound - self.mean) if below else (self.mean - bound)
        if self.are_equal:
            return 0.5**self.count if distance > 0 and not _are_equal(bound, self.mean) else 1.0
        return float(stdtr(self.count - 1, -distance / self.se))


def _are_equal(one: float, other: float) -> bool:
    return abs(one - other) <= EQUAL * max(1.0, abs(one), abs(other))


def _joined(first: str, second: str) -> str:
    return f"{first}; {second}" if second else first

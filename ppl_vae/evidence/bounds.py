"""In which direction a number may be off, and whether it is one."""

from __future__ import annotations

from math import isfinite
from typing import Literal

__all__ = ["IN_WORDS", "SIGNS", "WEAKEST_FIRST", "Bound", "difference", "finite"]

Bound = Literal["exact", "unbiased", "approximate", "lower", "upper", "between"]
"""``"between"``: too high or too low, as the difference of two lower bounds may be."""

WEAKEST_FIRST: tuple[Bound, ...] = ("between", "approximate", "lower", "upper", "unbiased", "exact")

_FLIPPED: dict[Bound, Bound] = {"lower": "upper", "upper": "lower"}


IN_WORDS: dict[Bound, str] = {
    "exact": "exact",
    "unbiased": "unbiased",
    "approximate": "approximate",
    "lower": "a lower bound",
    "upper": "an upper bound",
    "between": "may be too high or too low",
}

SIGNS: dict[Bound, str] = {
    "exact": "",
    "unbiased": "",
    "approximate": "about ",
    "lower": ">= ",
    "upper": "<= ",
    "between": "about ",
}
"""What is written before a number."""


def difference(one: Bound, other: Bound) -> Bound:
    """The direction in which the difference of two numbers is off."""
    bounds = {one, _FLIPPED.get(other, other)}
    return "between" if {"lower", "upper"} <= bounds else next(b for b in WEAKEST_FIRST if b in bounds)


def finite(number: float) -> float | None:
    """The number, or None where it is not finite and JSON cannot hold it."""
    return number if isfinite(number) else None

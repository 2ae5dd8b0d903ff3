r"""The decision of all claims of a report together, by Holm's procedure.

- **held**: Holm's procedure over all claims rejects "the claim is false" at the level of the report;
- **did not hold**: the same procedure rejects "the claim is true";
- **undecided**: neither.

The probability that a report calls any false claim held is at most the level, and so is the probability that it says of
any true claim that it did not hold: however many claims are true, and however their values depend on each other,
wherever the test of each claim has its own level (:mod:`ppl_vae.studies.claims` says where).

References:
    S. Holm (1979), A simple sequentially rejective multiple test procedure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ppl_vae.diagnostics.holm import holm
from ppl_vae.studies.claims import Claim

__all__ = ["LEVEL", "Answer", "Decision", "decide", "holm", "test_in_words"]

Answer = Literal["held", "did not hold", "undecided"]

LEVEL = 0.05
"""Probability with which a report may call any false claim held."""


@dataclass(frozen=True)
class Decision:
    """What a report says of a claim.

    Arguments:
        claim: The claim.
        answer: By Holm's procedure over all claims of the report.
        p_false: p-value of "the claim is false", adjusted by Holm's procedure: held where at most the level.
        p_true: That of "the claim is true": did not hold where at most the level.
    """

    claim: Claim
    answer: Answer
    p_false: float
    p_true: float

    @property
    def test(self) -> str:
        """The adjusted p-value that decided, or why there is none."""
        return test_in_words(self.to_json())

    def __str__(self) -> str:
        return f"{self.answer}: {self.claim.text} ({self.claim.figures}; {self.test})"

    def to_json(self) -> dict[str, object]:
        return {
            "text": self.claim.text,
            "answer": self.answer,
            "figures": self.claim.figures,
            "exact": self.claim.is_exact,
            "reason": self.claim.reason,
            "p": None if self.claim.is_exact else {"false": self.claim.p_false, "true": self.claim.p_true},
            "p_holm": None if self.claim.is_exact else {"false": self.p_false, "true": self.p_true},
        }


def test_in_words(claim: Mapping[str, Any]) -> str:
    """How a decided claim was tested, from its JSON: the adjusted p-value, or why there is none."""
    if claim["exact"]:
        return "exact"
    if claim["reason"]:
        return str(claim["reason"])
    if claim["answer"] == "did not hold":
        return f"p = {claim['p_holm']['true']:.2g} if it were true"
    return f"p = {claim['p_holm']['false']:.2g}"


def decide(claims: Sequence[Claim], level: float = LEVEL) -> list[Decision]:
    """Decides all claims of a report together.

    Arguments:
        claims: All of them.
        level: Probability of any false "held", and that of any false "did not hold".

    Raises:
        ValueError: If the level is no probability below one half.
    """
    if not 0 < level < 0.5:
        raise ValueError(f"the level of a report is above 0 and below 0.5, got {level:g}")
    tested = [claim for claim in claims if not claim.is_exact]
    adjusted = zip(holm([c.p_false for c in tested]), holm([c.p_true for c in tested]), strict=True)
    decisions = []
    for claim in claims:
        p_false, p_true = (claim.p_false, claim.p_true) if claim.is_exact else next(adjusted)
        answer: Answer = "held" if p_false <= level else "did not hold" if p_true <= level else "undecided"
        decisions.append(Decision(claim, answer, p_false, p_true))
    return decisions

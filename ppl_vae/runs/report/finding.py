"""What a run shows, in a sentence computed from its numbers: no more is said than their errors allow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ppl_vae.diagnostics.gap.gap import NEGLIGIBLE, SHARE, Gap
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.intervals import Interval, ends, monte_carlo_margin, of_population, of_these_data, over_data
from ppl_vae.evidence.results import Evidence
from ppl_vae.runs.report.markup import nats
from ppl_vae.runs.report.subject import Subject

__all__ = ["MEANINGS", "Finding", "GapPart", "Meaning", "Verdict", "find"]

Verdict = Literal["tight", "network", "family", "both", "undecided", "not split", "unknown"]
"""Where the gap comes from."""


@dataclass(frozen=True)
class Meaning:
    """What a verdict means.

    Arguments:
        where: When it is given.
        consequence: What follows from it, as the end of the finding's sentence.
        remedy: What to do next.
        command: The command for it, in which ``{run}`` is the run and ``{families}`` guides of richer families; empty
            if there is none.
    """

    where: str
    consequence: str
    remedy: str = ""
    command: str = ""


MEANINGS: dict[Verdict, Meaning] = {
    "tight": Meaning(
        f"the upper limit of the gap is at most {NEGLIGIBLE} nats",
        "the bound is tight, and no other guide would raise it by more",
        "The gap is nothing to mend: what is left to gain is the model's. Compare it with another one.",
        "ppl-vae compare {run} OTHER_RUN",
    ),
    "network": Meaning(
        f"the lower limit of the network's part is above the upper limit of the family's, and {SHARE:g} times as much "
        f"(or the family's part is at most {NEGLIGIBLE} nats)",
        "more data or a refitted guide, not a richer family",
        "Train the guide further for this model, also on data that the model draws, or give it another network: the "
        "command tries each and shows what it buys. More training data help the guide as well as the model.",
        "ppl-vae remedy {run}",
    ),
    "family": Meaning(
        "the reverse, unless the search is known to have missed a best member",
        "a richer family of guides, not more data",
        "The guide's family is too small for the posterior: fit richer ones to this model, which shows what each step "
        "gains.",
        "ppl-vae gap {run} --ladder {families}",
    ),
    "both": Meaning(
        f"one part is larger, but not {SHARE:g} times; or both are known well",
        "both count, and a richer family mends only its part",
        "Take the remedies of the network and of the family, the larger part first.",
        "ppl-vae remedy {run}",
    ),
    "undecided": Meaning(
        "all else, such as parts of which the errors overlap",
        "the errors leave open which of them is to be mended",
        "Split the gap of all data, which narrows the errors.",
        "ppl-vae gap {run}",
    ),
    "not split": Meaning(
        "the gap is known, its parts are not",
        "whose they are, the family's or the network's, is not measured",
        "Split the gap.",
        "ppl-vae gap {run}",
    ),
    "unknown": Meaning(
        "the evidence is not known, or not finite",
        "the notes say why",
        "Measure the evidence by another method.",
        "ppl-vae evidence {run} --method annealing --data 100",
    ),
}
"""What each verdict means, in the order in which they are looked for."""


@dataclass(frozen=True)
class GapPart:
    """A gap or one of its parts, in nats per datum.

    Arguments:
        value: The best guess.
        low: Its lower limit at 95%; never below zero, since each part is a divergence.
        high: Its upper limit; None where none is known.
        sign: ``">= "``, ``"<= "``, ``"about "`` or empty: in which direction it may be off.
    """

    value: float
    low: float
    high: float | None
    sign: str = ""

    @property
    def words(self) -> str:
        """The number as a sentence gives it."""
        signs = {">= ": "at least ", "<= ": "at most "}
        value = {">= ": self.low, "<= ": self.value if self.high is None else self.high}.get(self.sign, self.value)
        error = 0.0 if self.sign or self.high is None else (self.high - self.low) / 2
        shown = f" \u00b1 {nats(error)}" if error >= max(0.005, 0.02 * self.value) else ""
        return f"{signs.get(self.sign, self.sign)}{nats(value)}{shown}"


@dataclass(frozen=True)
class Finding:
    """The finding of a run.

    Arguments:
        verdict: Where the gap comes from.
        sentence: The finding.
        total: The gap; None where it is not known.
        family: The part of the guide's family; None where the gap is not split.
        network: The part of its network.
        note: On which data it rests, where not on all.
    """

    verdict: Verdict
    sentence: str
    total: GapPart | None = None
    family: GapPart | None = None
    network: GapPart | None = None
    note: str = ""


def find(subject: Subject) -> Finding:
    """The finding of a run."""
    evidence, gap = subject.evidence, subject.gap
    if evidence is None and gap is None:
        return Finding(
            "unknown", f"The evidence is not known: {subject.missing.get('evidence', 'it was not measured')}."
        )
    total = _total(evidence, gap)
    if not math.isfinite(total.value):
        return Finding("unknown", f"The ELBO or the evidence of the {subject.split} data is not finite; see the notes.")
    unit = f"nats per {subject.noun}"
    if gap is None:
        return _not_split(subject, total, unit)
    family = _part(gap, "family gap", gap.family_gap)
    whole = gap.sample is None
    network = _part(gap, "amortisation gap", gap.amortisation_gap) if whole else _rest(total, family)
    note = "" if whole else f"split on {gap.data} of {gap.split_size} {subject.split} {subject.nouns}, drawn at random"
    verdict = judge(total, family, network, subject.is_split_doubtful)
    head = _head(total, family, network, unit, verdict)
    return Finding(verdict, f"{head}: {MEANINGS[verdict].consequence}.", total, family, network, note)


def judge(total: GapPart, family: GapPart, network: GapPart, doubtful: bool) -> Verdict:
    """Where the gap comes from, as far as the limits of its parts decide it.

    Arguments:
        total: The gap.
        family: The part of the family.
        network: The part of the network.
        doubtful: Whether the best member may have been missed.

    Example:
        >>> small, large, wide = GapPart(0.06, 0.05, 0.07), GapPart(3.1, 3.0, 3.2), GapPart(1.0, 0.0, 9.0)
        >>> total = GapPart(3.16, 3.16, 3.16)
        >>> judge(total, small, large, False), judge(total, large, small, False), judge(total, wide, large, False)
        ('network', 'family', 'undecided')
        >>> judge(GapPart(0.01, 0.01, 0.02), GapPart(0.01, 0.0, 0.02), GapPart(0.0, 0.0, 0.02), False)
        'tight'
    """
    if total.high is not None and total.high <= NEGLIGIBLE:
        return "tight"
    if family.high is not None and network.low > family.high:
        return "network" if family.high <= NEGLIGIBLE or network.low >= SHARE * family.high else "both"
    # Of a best member that was missed the family's part is too wide, and the network's too narrow.
    if network.high is not None and family.low > network.high and not doubtful:
        return "family" if network.high <= NEGLIGIBLE or family.low >= SHARE * network.high else "both"
    known = family.high is not None and network.high is not None and not doubtful
    wide = known and (family.high or 0) - family.low + (network.high or 0) - network.low > 0.2 * total.value
    return "both" if known and not wide else "undecided"


def _head(total: GapPart, family: GapPart, network: GapPart, unit: str, verdict: Verdict) -> str:
    if verdict == "tight":
        return f"Only {total.words} {unit} lie between ELBO and evidence"
    if total.high is None:
        head = f"At least {nats(total.low)} {unit} lie between ELBO and evidence"
        return f"{head}, {network.words} of them the network's; how much the family costs is not known from above"
    return (
        f"Of {total.words} {unit} between ELBO and evidence, {family.words} are the family's and {network.words} the "
        "network's"
    )


def _not_split(subject: Subject, total: GapPart, unit: str) -> Finding:
    if total.high is not None and total.high <= NEGLIGIBLE:
        return Finding("tight", f"{_head(total, total, total, unit, 'tight')}: {MEANINGS['tight'].consequence}.", total)
    known = f"{total.words} {unit} lie between ELBO and evidence"
    if total.high is None:
        known = f"at least {nats(total.low)} {unit} lie between ELBO and evidence, and no upper limit is known"
    sentence = f"{known[0].upper()}{known[1:]}; {MEANINGS['not split'].consequence}."
    return Finding("not split", sentence, total)


def _total(evidence: Evidence | None, gap: Gap | None) -> GapPart:
    """The gap of all data if it is known, else of those that were measured."""
    if gap is not None and (evidence is None or gap.sample is None or evidence.evidence.bound != "exact"):
        bracket, value = gap.brackets().get("gap"), gap.evidence.minus(gap.elbo)
        if bracket is not None:
            return _limited(value, bracket.lower, bracket.upper)
        return _of(value, _interval(gap, value))
    assert evidence is not None
    bracket = evidence.brackets().get("gap")
    if bracket is not None:
        return _limited(evidence.gap, bracket.lower, bracket.upper)
    return _of(evidence.gap, evidence.interval("gap", "data" if evidence.sample is None else "split"))


def _interval(gap: Gap, value: Estimate) -> Interval:
    return of_these_data(ends(value)) if gap.sample is None else of_population(ends(value), of=gap.split_size)


def _limited(value: Estimate, low: float | None, high: float | None) -> GapPart:
    return GapPart(value.mean, max(low or 0.0, 0.0), high, "" if high is not None else value.sign)


def _of(value: Estimate, interval: Interval) -> GapPart:
    low = value.mean if interval.low is None else interval.low
    return GapPart(value.mean, max(low, 0.0), interval.high, value.sign if value.bound != "unbiased" else "")


def _part(gap: Gap, name: str, value: Estimate) -> GapPart:
    """A part of the gap, taking the best member found as the best there is, as its sign says."""
    margin = _margin(gap, value)
    interval = gap.interval(name, "data" if gap.sample is None else "split")
    if name == "family gap":
        above = gap.brackets().get("family gap")
        high = interval.high if above is None else above.upper
        return GapPart(value.mean, max(value.mean - margin, 0.0), high, value.sign)
    # Of the best member found: a better one would widen this part at the cost of the other.
    return GapPart(value.mean, max(value.mean - margin, 0.0), value.mean + margin, value.sign)


def _margin(gap: Gap, value: Estimate) -> float:
    if gap.sample is None:
        return monte_carlo_margin(value)
    return max(map(abs, over_data(value.pointwise, noise=value.pointwise_se, of=gap.split_size)))


def _rest(total: GapPart, family: GapPart) -> GapPart:
    """The network's part as what the family's leaves of the gap: its error is the smaller of the two."""
    high = None if total.high is None else max(total.high - family.low, 0.0)
    low = max(total.low - (family.high if family.high is not None else total.low), 0.0)
    return GapPart(
        max(total.value - family.value, 0.0), low, high, {"<= ": ">= ", ">= ": "<= "}.get(family.sign, family.sign)
    )

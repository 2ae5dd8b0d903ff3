"""What to do next, by what a run shows."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from pathlib import Path

from ppl_vae.diagnostics.gap.gap import OVERFITTED
from ppl_vae.runs.report.finding import MEANINGS, Finding, Verdict
from ppl_vae.runs.report.markup import nats
from ppl_vae.runs.report.subject import Subject
from ppl_vae.runs.sense import TOO_SHORT

__all__ = ["Advice", "advise"]

Advice = tuple[str, str]
"""A reason with what to do about it, and the command that does it; empty where there is none."""


def advise(subject: Subject, finding: Finding) -> Iterator[Advice]:
    """What to do next, the most useful first; a run of objects, which Python alone can open, has no commands."""
    for why, command in _advice(subject, finding):
        yield why, "" if subject.run.config.is_of_objects else command


def _advice(subject: Subject, finding: Finding) -> Iterator[Advice]:
    if subject.summary is None:
        yield "The training is not finished: resume it.", f"ppl-vae train --resume {_folder(subject)}"
    else:
        for found in subject.summary.checks:
            yield _sentence(found.note), _longer(subject) if found.check == TOO_SHORT else ""
    if finding.verdict in ("network", "both"):
        yield from _of_network(subject)
    if finding.verdict in ("family", "both"):
        yield _remedy(subject, "family")
    yield from _of_evidence(subject, finding)
    yield from _of_code(subject)
    if finding.verdict == "tight":
        yield _remedy(subject, "tight")


def _longer(subject: Subject) -> str:
    """The command that doubles a training by its last phase; none for one that was trained anew on more data."""
    settings = subject.run.config.settings
    if subject.run.config.retrain:
        return ""
    *before, (epochs, draws) = settings.schedule
    phases = [*before, (epochs + settings.epochs, draws)]
    schedule = ",".join(f"{count}x{each}" for count, each in phases) if before else f"{epochs + settings.epochs}"
    return f"ppl-vae train --resume {_folder(subject)} --epochs {schedule}"


def _remedy(subject: Subject, verdict: Verdict) -> Advice:
    meaning = MEANINGS[verdict]
    return meaning.remedy, meaning.command.format(run=_folder(subject), families=_ladder(subject))


def _of_network(subject: Subject) -> Iterator[Advice]:
    widths = _gaps(subject)
    if widths is not None and widths[0] < OVERFITTED * widths[1] and widths[2]:
        why = (
            f"The gap is {nats(widths[0])} nats on training data and {nats(widths[1])} on {subject.split} data: the "
            "guide's network overfits."
        )
    else:
        wide = "" if widths is None else f" (the gap is {nats(widths[0])} nats on training data, too)"
        why = f"The guide's network falls short{wide}."
    remedy, command = _remedy(subject, "network")
    yield f"{why} {remedy}", command


def _gaps(subject: Subject) -> tuple[float, float, bool] | None:
    """The gap of training data and of this split, and whether they differ by more than chance."""
    splits = subject.summary.splits if subject.summary else {}
    if subject.split == "train" or not {"train", subject.split} <= splits.keys():
        return None
    train, other = (splits[name].measurement.gap for name in ("train", subject.split))
    error = math.hypot(train.data_se, other.data_se)
    return train.mean, other.mean, other.mean - train.mean > 2 * error


def _of_evidence(subject: Subject, finding: Finding) -> Iterator[Advice]:
    if finding.total is not None and finding.total.high is None and subject.evidence is not None:
        bracket = subject.evidence.bracket()
        why = "" if bracket is None or not bracket.reason else f" ({bracket.reason})"
        yield (
            f"The evidence has no upper limit yet{why}: measure it by annealing.",
            f"ppl-vae evidence {_folder(subject)} --method annealing --data 100",
        )
    if finding.verdict == "not split" and "gap" in subject.missing:
        yield f"The gap is not split: {subject.missing['gap']}", ""
    if finding.verdict == "undecided" and finding.note:
        yield _remedy(subject, "undecided")


def _of_code(subject: Subject) -> Iterator[Advice]:
    if subject.information is None:
        return
    content, _ = subject.information
    units, collapsed = content["units"], content["collapsed"]
    if collapsed:
        yield (
            f"{len(collapsed)} of {len(units)} units of the code are not used: take fewer, or keep them alive while "
            "training, by --free-bits or --anneal linear:10.",
            "",
        )


def _ladder(subject: Subject) -> str:
    own = Path(subject.run.config.guide.name).stem
    sites = subject.information[0]["units"] if subject.information else ()
    discrete = subject.evidence is not None and "enumeration" in subject.evidence.evidence.method
    richer = ["tree", "mixture", "full"] if discrete or not sites else ["low_rank", "flow", "full"]
    return ",".join(dict.fromkeys([own, *richer]))


def _folder(subject: Subject) -> str:
    return shlex.quote(str(subject.run.folder))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."

"""Reasons for caution, each once."""

from __future__ import annotations

from markupsafe import Markup

from ppl_vae.runs.report.markup import bullets
from ppl_vae.runs.report.subject import Subject

TITLE = "Notes"
PLACE = 90


def section(subject: Subject) -> Markup | None:
    """Notes of the data, the training and the measurements."""
    lines: list[str] = list(subject.run.corpus.notes)
    if subject.summary is not None:
        lines += [*subject.summary.notes, *subject.summary.warnings]
    seen = " ".join(lines)
    for result in (subject.evidence, subject.gap):
        lines += [line for line in (result.warnings if result is not None else ()) if line not in seen]
    for stored in (subject.information, subject.ladder):
        lines += stored[0]["warnings"] if stored is not None else []
    lines += [f"{name} is not in the report: {why}" for name, why in subject.missing.items()]
    return bullets(dict.fromkeys(lines), "notes") if lines else None

"""What to do next."""

from __future__ import annotations

from markupsafe import Markup

from ppl_vae.runs.report.advice import advise
from ppl_vae.runs.report.finding import find
from ppl_vae.runs.report.markup import code, joined
from ppl_vae.runs.report.subject import Subject

TITLE = "What to do next"
PLACE = 15


def section(subject: Subject) -> Markup | None:
    """A list of remedies with their commands."""
    items = [
        Markup("<li>{}{}</li>").format(why, code(command) if command else "")
        for why, command in advise(subject, find(subject))
    ]
    return Markup("<ol class='advice'>{}</ol>").format(joined(items)) if items else None

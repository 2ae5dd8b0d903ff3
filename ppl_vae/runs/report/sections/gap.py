"""The gap between ELBO and evidence as a staircase of its parts."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Evidence
from ppl_vae.runs.report.charts import Bar, floating_bars
from ppl_vae.runs.report.finding import Finding, find
from ppl_vae.runs.report.markup import columns, figure, joined, nats, paragraph, table
from ppl_vae.runs.report.subject import Subject

TITLE = "Where the gap comes from"
PLACE = 10

MEANING = {
    "network": "the network's part (amortisation gap): what the guide loses to the best member of its own family, "
    "chosen for each datum alone",
    "family": "the family's part (family gap): what even that member loses to the posterior",
}


def section(subject: Subject) -> Markup | None:
    """The levels from the ELBO up to the evidence, and what they mean."""
    finding = find(subject)
    if finding.total is None or subject.evidence is None:
        return None
    result = subject.evidence if subject.gap is None else subject.gap
    chart = floating_bars(_bars(result), f"{finding.sentence}", f"nats per {subject.noun}")
    errors = "; ±: Monte Carlo standard error of the mean over these data" if result.has_draws else ""
    measured, known = len(result.elbo.pointwise), len(subject.evidence.elbo.pointwise)
    caption = f"From the ELBO up to the evidence, {subject.sized(measured)}{errors}."
    if measured < known:
        caption += (
            f" The sentence at the top is of all {known:,}: of their gap the part of the network is what the family's, "
            "estimated here, leaves."
        )
    return columns(figure(chart, caption), _explained(subject, finding))


def _bars(result: Evidence | Gap) -> list[Bar]:
    """A bar for each part, all of one measurement: what is drawn is the number beside it."""
    low, top = result.elbo.mean, result.evidence.mean
    bars = [_bar("ELBO", low, low, result.elbo, "black")]
    if isinstance(result, Gap):
        middle = result.best.mean
        bars.append(_bar("the network's part", low, middle, result.amortisation_gap, "orange"))
        bars.append(_bar("the family's part", middle, top, result.family_gap, "blue"))
    else:
        bars.append(_bar("gap", low, top, result.gap, "sky_blue"))
    bars.append(_bar("evidence", top, top, result.evidence, "green"))
    bracket = result.brackets().get("evidence")
    if bracket is not None and bracket.upper is not None and bracket.upper - top > 0.02 * (top - low):
        limit = f"≤ {bracket.upper:.3f} at {bracket.level:.0%}"
        bars.append(Bar("upper limit of the evidence", top, bracket.upper, limit, "pale"))
    return bars


def _bar(name: str, low: float, high: float, value: Estimate, colour: str) -> Bar:
    return Bar(name, low, high, _signs(value.figure), colour, value.se)


def _signs(figure: str) -> str:
    """A number with its signs as a page writes them; a line breaks before its parentheses only."""
    for typed, sign in (("<= ", "≤ "), (">= ", "≥ "), (" +- ", " ± ")):
        figure = figure.replace(typed, sign.replace(" ", "\N{NO-BREAK SPACE}"))
    return figure


def _explained(subject: Subject, finding: Finding) -> Markup:
    parts = [paragraph(MEANING[name].capitalize() + ".") for name in MEANING] if finding.family is not None else []
    if subject.gap is None:
        parts.append(paragraph(f"The gap is not split: {subject.missing.get('gap', '')}"))
    else:
        rows = [(name, _signs(subject.gap.figure(each)), each.how) for name, each in subject.gap.rows().items()]
        errors = subject.gap.errors_in_words().replace("+-", "±")
        caption = f"The split of {subject.gap.data:,} {subject.nouns}, nats; family: {subject.gap.family}"
        caption = "; ".join(filter(None, (caption, errors)))
        parts.append(table(caption, ("", "mean", "how"), rows, text=("how",)))
        if subject.check is not None:
            parts.append(paragraph(_checked(subject.check), "faint"))
    assert finding.total is not None
    if finding.total.high is None:
        parts.append(paragraph(f"The gap is at least {nats(finding.total.low)} nats; nothing bounds it from above."))
    return Markup("<div>{}</div>").format(joined(parts))


def _checked(check: dict[str, Any]) -> str:
    """How far the best members that were found are from the best."""
    proved = "at_most" in check
    far = f"by at most {check['at_most']:.3f} nats" if proved else f"by at least {max(check['at_least'], 0):.3f} nats"
    how = f"{check['method'][0].upper()}{check['method'][1:]}"
    return f"{how}: the best member was missed in {check['missed']} of {check['data']} data checked, {far}."

"""The gap between ELBO and evidence as a staircase of its parts."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

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
    elbo = subject.evidence.elbo.mean
    chart = floating_bars(_bars(finding, elbo), f"{finding.sentence}", f"nats per {subject.noun}")
    where = subject.sized(subject.evidence.data)
    caption = f"From the ELBO up to the evidence, {where}{f'; {finding.note}' if finding.note else ''}."
    return columns(figure(chart, caption), _explained(subject, finding))


def _bars(finding: Finding, elbo: float) -> list[Bar]:
    total = finding.total
    assert total is not None
    top = elbo + total.value
    bars = [Bar("ELBO", elbo, elbo, f"{elbo:.2f}", "black")]
    if finding.family is not None and finding.network is not None:
        middle = elbo + finding.network.value
        bars.append(Bar("the network's part", elbo, middle, finding.network.words, "orange"))
        bars.append(Bar("the family's part", middle, top, finding.family.words, "blue"))
    else:
        bars.append(Bar("gap", elbo, top, total.words, "sky_blue"))
    bars.append(Bar("evidence", top, top, f"{'at least ' if total.high is None else ''}{top:.2f}", "green"))
    if total.high is not None and total.high - total.value > 0.02 * total.value:
        bars.append(Bar("evidence is at most", top, elbo + total.high, f"{elbo + total.high:.2f}", "pale"))
    return bars


def _explained(subject: Subject, finding: Finding) -> Markup:
    parts = [paragraph(MEANING[name].capitalize() + ".") for name in MEANING] if finding.family is not None else []
    if subject.gap is None:
        parts.append(paragraph(f"The gap is not split: {subject.missing.get('gap', '')}"))
    else:
        rows = [(name, subject.gap.figure(each), each.how) for name, each in subject.gap.rows().items()]
        caption = f"The split of {subject.gap.data:,} {subject.nouns}, nats; family: {subject.gap.family}"
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

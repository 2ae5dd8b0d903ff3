"""The ladder of guides, if it was measured."""

from __future__ import annotations

from markupsafe import Markup

from ppl_vae.runs.report.charts import Bar, floating_bars
from ppl_vae.runs.report.markup import columns, figure, stored, table
from ppl_vae.runs.report.subject import Subject

TITLE = "What richer guides gain"
PLACE = 20

PARTS = ("elbo", "amortisation_gap", "family_gap", "step")


def section(subject: Subject) -> Markup | None:
    """The ELBO of each guide under the fixed model, up to the evidence."""
    if subject.ladder is None:
        return None
    content, _ = subject.ladder
    guides = list(content["families"])
    evidence, first = content["evidence"], content[guides[0]]["elbo"]["mean"]
    bars = [_bar(guide, first, content[guide]["elbo"]) for guide in guides]
    bars.append(Bar("evidence", first, evidence["mean"], stored(evidence, 3), "green"))
    rows = []
    for guide in guides:
        known = content[guide]
        cells = [stored(known[part], 3) if part in known else "" for part in PARTS]
        rows.append((guide, *cells, content["families"][guide]))
    if "evidence" in content and "step" in content.get("evidence", {}):
        rows.append(("evidence", stored(evidence, 3), "", "", stored(evidence["step"], 3), ""))
    heads = ("guide", "ELBO", "network's part", "family's part", "step up", "family")
    label = f"ELBO of {len(guides)} guides under the fixed model: " + ", ".join(f"{b.name} {b.value}" for b in bars)
    chart = figure(floating_bars(bars, label, f"nats per {subject.noun}"), "Each guide fitted to the same model.")
    return columns(chart, table("The ladder, nats", heads, rows, text=("family",)))


def _bar(guide: str, first: float, elbo: dict[str, float]) -> Bar:
    return Bar(guide, first, elbo["mean"], stored(elbo, 3), "blue")

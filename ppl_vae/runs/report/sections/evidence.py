"""The evidence, with its method, its direction and its errors."""

from __future__ import annotations

from markupsafe import Markup

from ppl_vae.runs.report.markup import facts, joined, table
from ppl_vae.runs.report.subject import Subject

TITLE = "Evidence"
PLACE = 40


def section(subject: Subject) -> Markup | None:
    """ELBO, evidence and gap, how they were measured, and between which limits they lie."""
    result = subject.evidence
    if result is None:
        return None
    named = {"Method": result.evidence.method, "Direction": result.evidence.how.rpartition(": ")[2]}
    if result.why:
        named["Why this method"] = result.why
    bracket = result.bracket()
    if bracket is not None:
        named["Bracket"] = str(bracket)
    if result.shortfall is not None:
        named["Checked on simulated data"] = f"misses {result.shortfall} nats of their evidence"
    rows = []
    for name, estimate in result.rows().items():
        spread = [f"{v:.2f}" for v in (estimate.pointwise.min(), estimate.pointwise.median(), estimate.pointwise.max())]
        within = result.interval(name, "population")
        rows.append((name, result.figure(estimate), str(within), *spread, estimate.how))
    heads = ("", "mean", "95% for the population", "smallest", "median", "largest", "how")
    words = result.errors_in_words()
    caption = f"Nats per {subject.noun} over {result.data:,} {subject.split} {subject.nouns}"
    return joined([facts(named), table(f"{caption}{f'; {words}' if words else ''}", heads, rows, text=("how",))])

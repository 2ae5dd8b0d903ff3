"""The gap of each datum, and the data with the widest gaps as themselves."""

from __future__ import annotations

import torch
from markupsafe import Markup

from ppl_vae.data.counts import PackedCounts
from ppl_vae.diagnostics.retrieval.tfidf import rarity
from ppl_vae.runs.report.charts import histogram
from ppl_vae.runs.report.markup import columns, figure, joined
from ppl_vae.runs.report.pictures import exhibit
from ppl_vae.runs.report.subject import Subject

TITLE = "The gap of each datum"
PLACE = 60

COUNT = 6
"""Number of data shown."""


def section(subject: Subject) -> Markup | None:
    """A histogram, and the worst data."""
    result = subject.evidence
    if result is None or not result.gap.pointwise.isfinite().all():
        return None
    gaps, rows = result.gap.pointwise, subject.rows(result.sample)
    middle, largest = gaps.median().item(), gaps.max().item()
    label = f"gaps of {len(gaps):,} {subject.nouns}: half are below {middle:.2f} nats, the widest is {largest:.2f}"
    chart = histogram(gaps.tolist(), label, f"evidence minus ELBO (nats per {subject.noun})", subject.nouns)
    train = subject.run.data.get("train")
    rare = torch.from_numpy(rarity(train)) if isinstance(train, PackedCounts) else None
    items = []
    for i in result.worst(COUNT):
        row = rows[i]
        name, shown = subject.name_of(row), exhibit(subject.run, subject.data, row, subject.name_of(row), rare)
        items.append(
            Markup('<li><span class="value">{} nats</span> <strong>{}</strong><div>{}</div></li>').format(
                f"{gaps[i].item():.2f}", name, shown
            )
        )
    heading = Markup("<div><h3>Widest gaps</h3><ol class='worst'>{}</ol></div>").format(joined(items))
    return columns(figure(chart, f"{label[0].upper()}{label[1:]}."), heading)

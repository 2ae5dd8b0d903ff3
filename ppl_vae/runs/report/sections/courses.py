"""The course of the training."""

from __future__ import annotations

from markupsafe import Markup

from ppl_vae.runs.report.charts import Line, line_chart
from ppl_vae.runs.report.markup import columns, figure
from ppl_vae.runs.report.subject import Subject

TITLE = "The course of training"
PLACE = 50

METRICS = {
    "elbo": "ELBO",
    "evidence": "evidence",
    "conditional": "log q(z | x) of drawn pairs",
    "objective": "objective",
    "rate": "rate",
    "distortion": "distortion",
}
COLOURS = {"train": "blue", "validation": "vermilion"}


def section(subject: Subject) -> Markup | None:
    """Curves over the epochs, one chart a metric."""
    history = subject.run.history
    if len(history) < 2:
        return None
    unit = f"nats per {subject.noun}"
    best = subject.summary.best_epoch if subject.summary else None
    charts = []
    for metric, name in METRICS.items():
        lines = []
        for split, colour in COLOURS.items():
            points = [(row["epoch"], row[f"{split}_{metric}"]) for row in history if _has(row, f"{split}_{metric}")]
            if len(points) > 1:
                lines.append(Line("training" if split == "train" else split, points, colour))
        if lines:
            ends = "; ".join(f"{line.name} ends at {line.points[-1][1]:.2f}" for line in lines)
            chart = line_chart(lines, f"{name} by epoch: {ends}", "epoch", f"{name} ({unit})", mark=best)
            charts.append(figure(chart, f"{name[0].upper()}{name[1:]}: {ends}."))
    return columns(*charts) if charts else None


def _has(row: dict[str, float], name: str) -> bool:
    return isinstance(row.get(name), int | float)

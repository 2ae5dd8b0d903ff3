"""A run in a few lines: what was trained on what, how far, and what it reached."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppl_vae.runs.open import Run

__all__ = ["card"]


def card(run: Run) -> list[tuple[str, str]]:
    """Lines of a run by name: its folder, pair, data, training, and ELBO, evidence and gap of unseen data."""
    sizes = ", ".join(f"{len(x):,} {name}" for name, x in run.data.items())
    lines = [
        ("folder", str(run.folder)),
        ("pair", run.pair.description),
        ("data", f"{Path(run.corpus.name).name}: {sizes}"),
    ]
    summary = run.summary
    if summary is None:
        return [*lines, ("training", f"not finished; pv.resume({str(run.folder)!r}) continues it")]
    lines.append(("training", f"epoch {summary.best_epoch} of {summary.epochs}; {summary.estimator}"))
    unseen = list(summary.splits)[-1]
    split = summary.splits[unseen]
    shown = (f"{name} {split.figure(each)}" for name, each in split.measurement.rows().items())
    lines.append((unseen, f"{', '.join(shown)} nats per datum ({split.measurement.evidence.method})"))
    if summary.warnings:
        count = len(summary.warnings)
        lines.append(("notes", f"{count}, shown by run.summary"))
    return lines

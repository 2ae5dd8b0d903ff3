"""What was trained, on what, and what came out for each split."""

from __future__ import annotations

from markupsafe import Markup

from ppl_vae.runs.report.markup import facts, joined, paragraph, table
from ppl_vae.runs.report.subject import Subject

TITLE = "What was trained"
PLACE = 30


def section(subject: Subject) -> Markup | None:
    """Model, guide, data and training, and the final table."""
    run, summary = subject.run, subject.summary
    sizes = ", ".join(f"{len(x):,} {name}" for name, x in run.data.items())
    parameters = sum(p.numel() for part in (run.model, run.guide) for p in part.parameters())
    named = {
        "Pair": run.pair.description,
        "Data": f"{run.corpus.name}: {sizes} {subject.nouns}",
        "Objective": run.config.objective_description.replace("elbo", "ELBO"),
        "Parameters": f"{parameters:,}",
    }
    if summary is None:
        unfinished = "The training is not finished: its best state so far is shown."
        changed = "The final table was made with the code of the run; here files that have changed since are run."
        return joined([facts(named), paragraph(unfinished if run.state.is_run else changed)])
    named |= {
        "Gradient": summary.estimator,
        "Epochs": f"{summary.epochs}, of which epoch {summary.best_epoch} is measured",
    }
    _, heads, rows = summary.cells()
    caption = f"Nats per {subject.noun}, with all normalising constants; higher is better"
    return joined([facts(named), table(caption, heads, rows), paragraph("; ".join(summary.captions()), "faint")])

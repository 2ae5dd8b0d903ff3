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
        return joined([facts(named), paragraph("The training is not finished: its best state so far is shown.")])
    named |= {
        "Gradient": summary.estimator,
        "Epochs": f"{summary.epochs}, of which epoch {summary.best_epoch} is measured",
    }
    heads = ["split", "data", "rate", "distortion", "ELBO", "evidence", "gap"]
    extra = {"deviance": any(s.deviance is not None for s in summary.splits.values())}
    extra |= {"bits/pixel": any(s.bits is not None for s in summary.splits.values())}
    rows = []
    for name, split in summary.splits.items():
        cells = {label: split.figure(each) for label, each in split.rows().items()}
        cells["data"] = f"{split.data:,}" + ("" if split.split_size is None else f" of {split.split_size:,}")
        cells["deviance"] = "" if split.deviance is None else f"{split.deviance:.2f}"
        cells["bits/pixel"] = "" if split.bits is None else f"{split.bits:.3f}"
        rows.append((name, *(cells[head] for head in [*heads[1:], *(each for each in extra if extra[each])])))
    caption = f"Nats per {subject.noun}, with all normalising constants; higher is better"
    return joined([facts(named), table(caption, [*heads, *(each for each in extra if extra[each])], rows)])

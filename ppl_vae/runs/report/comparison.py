"""Several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ppl_vae.diagnostics.comparison import Comparison
from ppl_vae.evidence.intervals import Interval
from ppl_vae.runs.report.charts import COLOURS, Bar, Line, floating_bars, line_chart
from ppl_vae.runs.report.markup import bullets, columns, figure, joined, nats, paragraph, table
from ppl_vae.runs.report.subject import Subject

__all__ = ["compared", "contrast"]


def contrast(result: Comparison, noun: str) -> list[str]:
    """What the paired differences of each further run from the first decide at 95%, in a sentence each."""
    sentences = []
    for letter, run in list(result.labelled().items())[1:]:
        differences = result.differences(run)
        evidence, elbo = differences["evidence"], differences["elbo"]
        if evidence.zero:
            first = f"{letter} has the model of A, and its evidence"
        else:
            first = _decided(evidence.interval, f"{letter}'s evidence", "the evidence of A", noun)
        second = _decided(elbo.interval, "its ELBO", "that of A", noun)
        sentences.append(f"{first}; {second}.")
    return sentences


def _decided(interval: Interval, one: str, other: str, noun: str) -> str:
    """Which of two numbers is higher, and by how much, as far as the interval of their difference decides it."""
    low, high = interval.low, interval.high
    unit = f"nats per {noun}"
    if low is not None and low > 0:
        upper = f" to {nats(high)}" if high is not None else " or more"
        return f"{one} is {nats(low)}{upper} {unit} above {other}"
    if high is not None and high < 0:
        upper = f" to {nats(-low)}" if low is not None else " or more"
        return f"{one} is {nats(-high)}{upper} {unit} below {other}"
    if low is None or high is None:
        return f"which of {one} and {other} is higher is not known"
    return f"{one} cannot be told from {other} ({nats(low)} to {nats(high)} {unit})"


def compared(result: Comparison, subjects: Sequence[Subject]) -> Markup:
    """Levels, paired differences, and curves of several runs."""
    noun = subjects[0].noun
    parts = [columns(_levels_drawn(result, noun), *_courses(result, subjects)), _levels(result), _differences(result)]
    parts.append(_what_differs(result, subjects))
    if result.warnings:
        parts += [Markup("<h3>Notes</h3>"), bullets(result.warnings, "notes")]
    return joined(parts)


def _levels_drawn(result: Comparison, noun: str) -> Markup:
    bars = []
    for letter, run in result.labelled().items():
        measured = run.measurement
        low, high = measured.elbo.mean, measured.evidence.mean
        bars.append(Bar(f"{letter}: {run.pair.split(' (')[0]}", low, high, f"{low:.2f} to {high:.2f}", "sky_blue"))
    label = "From the ELBO to the evidence of each run: " + "; ".join(f"{bar.name} {bar.value}" for bar in bars)
    return figure(floating_bars(bars, label, f"nats per {noun}"), "From the ELBO (left) to the evidence (right).")


def _courses(result: Comparison, subjects: Sequence[Subject]) -> list[Markup]:
    lines = []
    for (letter, _), subject, colour in zip(result.labelled().items(), subjects, COLOURS, strict=False):
        for name in ("validation_elbo", "train_elbo"):
            points = [(row["epoch"], row[name]) for row in subject.run.history if isinstance(row.get(name), float)]
            if len(points) > 1:
                lines.append(Line(f"{letter}, {name.partition('_')[0]}", points, colour))
                break
    if not lines:
        return []
    chart = line_chart(lines, "ELBO of each run by epoch", "epoch", f"ELBO (nats per {subjects[0].noun})")
    return [figure(chart, "ELBO by epoch.")]


def _levels(result: Comparison) -> Markup:
    rows, estimates = [], result.rows()
    names = ["ELBO", "evidence", "gap", "family gap", "amortisation gap"]
    for letter, run in result.labelled().items():
        cells = [estimates.get(f"{letter}: {name}") for name in names]
        figures = ["" if each is None else each.figure for each in cells]
        rows.append((f"{letter}: {run.pair.split(' (')[0]}", *figures, run.measurement.evidence.how))
    heads = ("run", *names, "evidence by")
    caption = f"Nats per datum over {result.data:,} {result.split} data, higher is better"
    words = "; ".join(filter(None, (result.signs_in_words(), result.errors_in_words())))
    return table(f"{caption}{f'; {words}' if words else ''}", heads, rows, text=("evidence by",))


def _differences(result: Comparison) -> Markup:
    """Differences from the first run, and approximation errors where one run maximised the likelihood."""
    rows = []
    splits = list(dict.fromkeys(name for run in result.runs for name in result.approximation_errors(run)))
    for letter, run in result.labelled().items():
        first = run is result.runs[0]
        cells = ["" if first else str(each) for each in result.differences(run).values()]
        errors = result.approximation_errors(run)
        cells += [str(errors.get(name, "")) for name in splits]
        rows.append((f"{letter}: {run.pair.split(' (')[0]}", *cells))
    heads = ("run", "evidence minus A's", "ELBO minus A's", *(f"approximation error, {name}" for name in splits))
    caption = "Paired differences, nats per datum; \u00b1 is the standard error over the data, draws included"
    return table(caption, heads, rows)


def _what_differs(result: Comparison, subjects: Sequence[Subject]) -> Markup:
    """The entries of the configurations in which the runs differ from the first."""
    lines = []
    for letter, subject in list(zip(result.labelled(), subjects, strict=True))[1:]:
        changes = subjects[0].run.config.differences(subject.run.config)
        changes = [each for each in changes if "{}" not in each]  # its entries are named
        lines += [
            f"{letter}: {change.replace(' was ', ' is ', 1).replace(' and is now ', ' in A, here ')}"
            for change in changes
        ]
    heading = Markup("<h3>How the runs differ from A</h3>")
    return heading + (bullets(lines) if lines else paragraph("Their configurations are the same."))

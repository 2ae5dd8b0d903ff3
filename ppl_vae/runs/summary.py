"""The summary of a training: ELBO, evidence and gap of each split."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ppl_vae.evidence.figures import OKABE_ITO, marker, whole
from ppl_vae.evidence.tables import html_table, noted, text_table
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.runs.sense import FailedCheck
from ppl_vae.runs.split import Split
from ppl_vae.training.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["Summary"]


TRAINED = {
    "elbo": "",
    "likelihood": " trained on the likelihood",
    "sleep": ", the guide trained on pairs that the model drew",
    "wake_sleep": " trained by wake-sleep",
    "symmetric": " trained to a symmetric equilibrium",
}
"""How the title of the table names an objective; other names are used unchanged."""

SELECTION = {
    "elbo": "the ELBO of validation data chose the epoch",
    "": "validation did not choose: the last epoch counts",
}
"""How the caption names the validation metric that chose the epoch."""

CURVES = {"evidence": "evidence", "conditional": "log q(z given x) of drawn pairs", "elbo": "ELBO"}
"""Metrics that may be drawn over the epochs; the first available one is."""


@dataclass(frozen=True, repr=False)
class Summary:
    """The final table of a training.

    Arguments:
        run: The folder of the run.
        pair: Description of model and guide.
        objective: The objective by name (:class:`~ppl_vae.runs.config.RunConfig`), or a description of the loss.
        estimator: The gradient estimator, or how the likelihood is computed.
        best_epoch: The epoch whose state is measured.
        epochs: Number of epochs trained.
        splits: The measurements by split.
        notes: Remarks on the data and the training.
        chosen_by: The validation metric that chose the epoch; empty if none did and the last epoch counts.
        checks: What the checks of the numbers found (:mod:`~ppl_vae.runs.sense`).
    """

    run: str
    pair: str
    objective: str
    estimator: str
    best_epoch: int
    epochs: int
    splits: dict[str, Split]
    notes: tuple[str, ...] = field(default=())
    chosen_by: str = "elbo"
    checks: tuple[FailedCheck, ...] = ()

    @classmethod
    def of(cls, run: RunFolder) -> Summary | None:
        """The summary that a finished run ended with; None of one that is not finished."""
        content = run.summary
        if content is None:
            return None
        values = Checkpoint.read(run.folder / "pointwise.safetensors")
        splits = {name: Split.stored(part, values.part(name)) for name, part in content["splits"].items()}
        names = ("run", "pair", "objective", "estimator", "best_epoch", "epochs")
        return cls(
            **{name: content[name] for name in names},
            splits=splits,
            notes=tuple(content["notes"]),
            chosen_by=content["chosen_by"] or "",
            checks=tuple(FailedCheck(**found) for found in content["checks"]),
        )

    def to_json(self) -> dict[str, Any]:
        names = ("run", "pair", "objective", "estimator", "best_epoch", "epochs")
        return {name: getattr(self, name) for name in names} | {
            "chosen_by": self.chosen_by or None,
            "checks": [asdict(found) for found in self.checks],
            "splits": {name: split.to_json() for name, split in self.splits.items()},
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def cells(self) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
        """Title, heads and rows of the table, one for each split."""
        columns = ["data", "rate", "distortion", "ELBO", "evidence", "gap"]
        columns += ["deviance"] if any(split.deviance is not None for split in self.splits.values()) else []
        columns += ["bits/pixel"] if any(split.pixels for split in self.splits.values()) else []
        rows = list[tuple[str, ...]]()
        for name, split in self.splits.items():
            size = "" if split.split_size is None else f" of {split.split_size}"
            cells = {label: split.figure(each) for label, each in split.rows().items()} | {
                "data": f"{split.data}{size}"
            }
            if split.deviance is not None:
                cells["deviance"] = f"{split.deviance:.2f}{_error(split.measurement.elbo.se)}"
            if split.bits is not None:
                cells["bits/pixel"] = f"{split.bits:.3f}{_error(split.bits_se)}"
            rows.append((name, *(cells.get(column, "") for column in columns)))
        epochs = f"epoch {self.best_epoch} of {self.epochs}{', the best on validation data' if self.chosen_by else ''}"
        objective = TRAINED.get(self.objective, f" trained on {self.objective}")
        title = f"{self.pair}{objective}: nats per datum, higher is better ({epochs})"
        return title, ("split", *columns), rows

    def table(self) -> str:
        """The table, without the warnings."""
        title, columns, rows = self.cells()
        caption = "; ".join(self.captions())
        return text_table(title, columns, rows, left=("split",), caption=caption, min_width=78)

    def _repr_html_(self) -> str:
        title, columns, rows = self.cells()
        return html_table(title, columns, rows, ["; ".join(self.captions()), *self.warnings])

    def to_frame(self) -> DataFrame:
        """The means as a pandas table with a row for each split, in nats per datum."""
        from pandas import DataFrame

        means = {name: {label: e.mean for label, e in split.rows().items()} for name, split in self.splits.items()}
        return DataFrame.from_dict(means, orient="index")

    def brackets(self) -> list[str]:
        """The bracket of the evidence of each split that has one, in words."""
        found = {name: split.measurement.bracket() for name, split in self.splits.items()}
        return [f"{name}: {bracket}" for name, bracket in found.items() if bracket is not None]

    def captions(self) -> Iterator[str]:
        """What the table's numbers are: the methods, the errors, and the distances."""
        methods = dict[str, list[str]]()
        directions = {"exact": ", exact", "lower": ", a lower bound"}
        for name, split in self.splits.items():
            evidence = split.measurement.evidence
            how = f"{evidence.method}{directions.get(evidence.bound, ', approximate')}"
            methods.setdefault(how, []).append(name)
        for how, names in methods.items():
            of = f" of {', '.join(names)}" if len(methods) > 1 else ""
            yield f"evidence{of}: {how}"
        if self.objective not in TRAINED:
            chosen = SELECTION.get(self.chosen_by, "the loss on validation data chose the epoch")
            yield f"all figures are the model's own, with beta = 1; {chosen}"
        if any(split.has_draws for split in self.splits.values()):
            yield "+-: Monte Carlo standard error of the mean over these data"
        if any(split.split_size for split in self.splits.values()):
            yield "in parentheses: standard error as the mean of the whole split, of which these data are a sample"
        if any(split.deviance is not None for split in self.splits.values()):
            yield "deviance: saturated log-likelihood minus ELBO, lower is better"
        if any(split.pixels for split in self.splits.values()):
            yield (
                "bits/pixel: 8 minus the ELBO in bits per number, lower is better; a code length for dequantised bytes "
                "only"
            )

    @property
    def next_step(self) -> str:
        """The command that says more of the gap."""
        return f"ppl-vae gap {self.run}  (splits the gap: what the guide's family costs, and what its network does)"

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join([self.table(), *self.brackets(), *map(noted, self.warnings)])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the checks found, and the notes of the splits.

        Notes that differ by their numbers only are one, with the shares of data of each split.
        """
        lines = [found.note for found in self.checks]
        kinds: dict[tuple[str, int], list[tuple[str, str]]] = {}
        for name, split in self.splits.items():
            masked = [re.sub(r"\d[\d.,]*", "#", line) for line in split.warnings]
            for place, (kind, line) in enumerate(zip(masked, split.warnings, strict=True)):
                kinds.setdefault((kind, masked[:place].count(kind)), []).append((name, line))
        for (name, line), *others in kinds.values():
            shares = [(other, re.match(r"[\d,]+ of [\d,]+(?= )", text)) for other, text in others]
            likewise = ", ".join(other + (f": {share[0]}" if share else "") for other, share in shares)
            lines.append(f"{name}{f' (likewise {likewise})' if likewise else ''}: {line}")
        return tuple(lines)

    def draw(self, figure: Figure, rows: list[dict[str, Any]]) -> None:
        """Draws the course of training, and the gap of each split.

        Arguments:
            figure: The figure.
            rows: Metrics by epoch.
        """
        course, gaps = figure.subplots(1, 2, width_ratios=[3, 2])
        epochs = [row["epoch"] for row in rows]
        metric = next(name for name in CURVES if name == "elbo" or (rows and f"train_{name}" in rows[-1]))
        means = {name: split.measurement.gap.mean for name, split in self.splits.items()}
        for (name, mean), colour in zip(means.items(), OKABE_ITO, strict=False):
            if any(f"{name}_{metric}" in row for row in rows):
                label = "training" if name == "train" else name
                values = [row.get(f"{name}_{metric}", math.nan) for row in rows]
                course.plot(epochs, values, color=colour, marker=marker(epochs), label=label)
            gaps.barh(name, mean, color=colour)
            gaps.annotate(f" {mean:.3f}", (mean, name), va="center")
        course.axvline(self.best_epoch, color="0.6", linestyle=":", label=f"chosen epoch {self.best_epoch}")
        whole(course.xaxis)
        course.set(xlabel="epoch", ylabel=f"{CURVES[metric]} (nats per datum)", title="Training")
        course.legend(frameon=False)
        bounds = {split.measurement.gap.bound for split in self.splits.values()}
        direction = "gap, at least" if "lower" in bounds else "gap" if bounds == {"exact"} else "gap, about"
        longest = max((len(f" {mean:.3f}") for mean in means.values()), default=0)
        edge = max(max(means.values(), default=1.0), 1e-6) / (0.98 - min(0.03 * longest, 0.5))
        gaps.set(xlabel=f"{direction} (nats per datum)", title="Evidence minus ELBO", xlim=(0, edge))
        gaps.invert_yaxis()
        figure.suptitle(self.pair)


def _error(se: float) -> str:
    return f" +- {se:.2g}" if se else ""

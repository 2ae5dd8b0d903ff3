"""The summary of a training: ELBO, evidence and gap of each split."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.images import bits_per_number
from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.bracket import Bracket
from ppl_vae.evidence.estimate import Estimate, finite
from ppl_vae.evidence.figures import OKABE_ITO, marker, whole
from ppl_vae.evidence.intervals import Ends
from ppl_vae.evidence.results import Evidence, Result
from ppl_vae.evidence.tables import noted, text_table
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.training.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Split", "Summary"]


@dataclass(frozen=True)
class Split(Result):
    """A measurement of one split, and the distances by which its kind of data is usually compared.

    Arguments:
        measurement: ELBO, evidence and gap.
        rate: Divergence of the guide from the prior, one part of the ELBO.
        distortion: Expected negative log-likelihood, the other part.
        saturated: Mean log-likelihood of documents under their own word frequencies; None for other data.
        pixels: Number of values of an image, if the model gives it a density; None for other data and models.
    """

    measurement: Evidence
    rate: Estimate
    distortion: Estimate
    saturated: float | None = None
    pixels: int | None = None

    @classmethod
    def of(
        cls, measurement: Evidence, x: Batch, rate: Estimate, distortion: Estimate, pixels: int | None = None
    ) -> Split:
        saturated = x.saturated.cpu().double().mean().item() if isinstance(x, PackedCounts) else None
        return cls(measurement, rate, distortion, saturated, pixels)

    def rows(self) -> dict[str, Estimate]:
        return {**self.measurement.rows(), "rate": self.rate, "distortion": self.distortion}

    def brackets(self) -> dict[str, Bracket]:
        return self.measurement.brackets()

    def ends(self, name: str) -> Ends:
        return self.measurement.ends(name) if name in self.measurement.rows() else super().ends(name)

    def losses(self) -> Tensor:
        return self.measurement.losses()

    @property
    def imbalance(self) -> float:
        """Rate plus distortion plus ELBO: zero, except for the errors of separate draws."""
        return self.rate.mean + self.distortion.mean + self.measurement.elbo.mean

    @property
    def bits(self) -> float | None:
        """Code length of images of bytes by the ELBO, in bits per number: an upper bound for dequantised bytes."""
        return None if self.pixels is None else bits_per_number(self.measurement.elbo.mean, self.pixels)

    @property
    def bits_se(self) -> float:
        """Standard error of the code length, that of the ELBO in bits per number."""
        return (self.measurement.elbo.se or 0.0) / ((self.pixels or 1) * math.log(2))

    @property
    def deviance(self) -> float | None:
        """The saturated model's log-likelihood minus the ELBO: an upper bound, comparable with published NELBOs."""
        return None if self.saturated is None else self.saturated - self.measurement.elbo.mean

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.measurement.facts() | {"saturated": self.saturated, "pixels": self.pixels}
        if self.saturated is not None and self.deviance is not None:
            facts["deviance"] = finite(self.deviance)
            facts["deviance_se"] = finite(self.measurement.elbo.se)
            facts["evidence_deviance"] = finite(self.saturated - self.measurement.evidence.mean)
        if self.pixels is not None and self.bits is not None:
            facts["bits_per_number"], facts["bits_per_number_se"] = finite(self.bits), finite(self.bits_se)
            facts["evidence_bits_per_number"] = finite(bits_per_number(self.measurement.evidence.mean, self.pixels))
        return facts

    @classmethod
    def stored(cls, content: Mapping[str, Any], values: Mapping[str, Tensor]) -> Split:
        """The measurement whose JSON and pointwise values were stored."""
        names = ("elbo", "evidence", "gap", "rate", "distortion")
        elbo, evidence, gap, rate, distortion = (Estimate.stored(content[name], values, name) for name in names)
        measurement = Evidence(elbo, evidence, gap, content["why"])
        split = cls(measurement, rate, distortion, content["saturated"], content["pixels"])
        return split.of_sample(values.get("rows"), content.get("split_size"))


TRAINED = {
    "elbo": "",
    "likelihood": " trained on the likelihood",
    "sleep": ", the guide trained on pairs that the model drew",
}
"""How the title of the table names an objective; other names are used unchanged."""

SELECTION = {
    "elbo": "the ELBO of validation data chose the epoch",
    "": "validation did not choose: the last epoch counts",
}
"""How the caption names the validation metric that chose the epoch."""

CURVES = {"evidence": "evidence", "conditional": "log q(z given x) of drawn pairs", "elbo": "ELBO"}
"""Metrics that may be drawn over the epochs; the first available one is."""


@dataclass(frozen=True)
class Summary:
    """The final table of a training.

    Arguments:
        run: The folder of the run.
        pair: Description of model and guide.
        objective: The objective, ``"elbo"``, ``"likelihood"`` or ``"sleep"``, or a description of the loss.
        estimator: The gradient estimator, or how the likelihood is computed.
        best_epoch: The epoch whose state is measured.
        epochs: Number of epochs trained.
        splits: The measurements by split.
        notes: Remarks on the data and the training.
        chosen_by: The validation metric that chose the epoch; empty if none did and the last epoch counts.
        undertrained: That the metric still rose at the end, and what to do; None if it did not.
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
    undertrained: str | None = None

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
            undertrained=content.get("undertrained"),
        )

    def to_json(self) -> dict[str, Any]:
        names = ("run", "pair", "objective", "estimator", "best_epoch", "epochs")
        return {name: getattr(self, name) for name in names} | {
            "chosen_by": self.chosen_by or None,
            "undertrained": self.undertrained,
            "splits": {name: split.to_json() for name, split in self.splits.items()},
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def table(self) -> str:
        """The table, without the warnings."""
        columns = ["data", "rate", "distortion", "ELBO", "evidence", "gap"]
        columns += ["deviance"] if any(split.deviance is not None for split in self.splits.values()) else []
        columns += ["bits/pixel"] if any(split.pixels for split in self.splits.values()) else []
        rows = []
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
        epochs = f"best of {self.epochs} epoch{'s' if self.epochs != 1 else ''}: {self.best_epoch}"
        objective = TRAINED.get(self.objective, f" trained on {self.objective}")
        return text_table(
            f"{self.pair}{objective}: nats per datum, higher is better ({epochs})",
            ("split", *columns),
            rows,
            left=("split",),
            caption="; ".join(self._captions(columns)),
            min_width=78,
        )

    def _captions(self, columns: Collection[str]) -> Iterator[str]:
        methods = {s.measurement.evidence.method: s.measurement.evidence.bound for s in self.splits.values()}
        directions = {"exact": ", exact", "lower": ", a lower bound"}
        yield from (f"evidence: {m}{directions.get(b, ', approximate')}" for m, b in methods.items())
        if self.objective not in TRAINED:
            chosen = SELECTION.get(self.chosen_by, "the loss on validation data chose the epoch")
            yield f"all figures are the model's own, with beta = 1; {chosen}"
        if any(split.has_draws for split in self.splits.values()):
            yield "+-: Monte Carlo standard error of the mean over these data"
        if any(split.split_size for split in self.splits.values()):
            yield "in parentheses: standard error as the mean of the whole split, of which these data are a sample"
        if "deviance" in columns:
            yield "deviance: saturated log-likelihood minus ELBO, lower is better"
        if "bits/pixel" in columns:
            yield (
                "bits/pixel: 8 minus the ELBO in bits per number, lower is better; a code length for dequantised bytes "
                "only"
            )

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        found = {name: split.measurement.bracket() for name, split in self.splits.items()}
        brackets = (f"{name}: {bracket}" for name, bracket in found.items() if bracket is not None)
        return "\n".join([self.table(), *brackets, *map(noted, self.warnings)])

    @property
    def warnings(self) -> tuple[str, ...]:
        """A training too short, notes of the splits, and an ELBO that is not minus rate plus distortion.

        Notes that differ by their numbers only are one, with the shares of data of each split.
        """
        lines = [] if self.undertrained is None else [self.undertrained]
        kinds: dict[tuple[str, int], list[tuple[str, str]]] = {}
        for name, split in self.splits.items():
            masked = [re.sub(r"\d[\d.,]*", "#", line) for line in split.warnings]
            for place, (kind, line) in enumerate(zip(masked, split.warnings, strict=True)):
                kinds.setdefault((kind, masked[:place].count(kind)), []).append((name, line))
        for (name, line), *others in kinds.values():
            shares = [(other, re.match(r"[\d,]+ of [\d,]+(?= )", text)) for other, text in others]
            likewise = ", ".join(other + (f": {share[0]}" if share else "") for other, share in shares)
            lines.append(f"{name}{f' (likewise {likewise})' if likewise else ''}: {line}")
        sums = [
            f"{split.imbalance:+.3g} ({name})"
            for name, split in self.splits.items()
            if split.rate.draws and abs(split.imbalance) > 1e-3
        ]
        if sums:
            lines.append(
                "rate and distortion come from other draws than the ELBO: their sum and the ELBO add up to "
                f"{', '.join(sums)} nats instead of 0"
            )
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
            if rows and f"{name}_{metric}" in rows[-1]:
                label = "training" if name == "train" else name
                values = [row[f"{name}_{metric}"] for row in rows]
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

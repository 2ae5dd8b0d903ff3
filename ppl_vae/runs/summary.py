"""What a training ends with: bound, evidence and gap of each split."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.images import bits_per_number
from ppl_vae.evidence.estimate import Estimate, finite
from ppl_vae.evidence.figures import OKABE_ITO, marker, whole
from ppl_vae.evidence.results import Evidence

__all__ = ["Split", "Summary"]


@dataclass(frozen=True)
class Split:
    """A measurement of one split, and the distance that goes with its kind of data.

    Arguments:
        measurement: In nats per datum.
        rate: Divergence of the guide from the prior, the one part of the bound.
        distortion: Expected negative log-likelihood, the other.
        saturated: Mean log-likelihood of documents under their own word frequencies; None for other data.
        pixels: Numbers of an image, where the model gives it a density; None for other data and models.
    """

    measurement: Evidence
    rate: Estimate
    distortion: Estimate
    saturated: float | None = None
    pixels: int | None = None

    @classmethod
    def of(
        cls, measurement: Evidence, x: Any, rate: Estimate, distortion: Estimate, pixels: int | None = None
    ) -> Split:
        saturated = x.saturated.cpu().double().mean().item() if isinstance(x, PackedCounts) else None
        return cls(measurement, rate, distortion, saturated, pixels)

    def pointwise(self) -> dict[str, Tensor]:
        """All values a datum by name, for keeping."""
        found = self.measurement.pointwise()
        for name, estimate in (("rate", self.rate), ("distortion", self.distortion)):
            found[name] = estimate.pointwise
            if estimate.pointwise_se is not None:
                found[f"{name}_se"] = estimate.pointwise_se
        return found

    @property
    def apart(self) -> float:
        """Rate plus distortion plus ELBO: zero but for the errors of draws, where they were drawn apart."""
        return self.rate.mean + self.distortion.mean + self.measurement.elbo.mean

    @property
    def bits(self) -> float | None:
        """A code's length for images of bytes by the ELBO, in bits a number: an upper bound where dequantised."""
        return None if self.pixels is None else bits_per_number(self.measurement.elbo.mean, self.pixels)

    @property
    def bits_se(self) -> float:
        """Its standard error, that of the ELBO."""
        return (self.measurement.elbo.se or 0.0) / ((self.pixels or 1) * math.log(2))

    @property
    def deviance(self) -> float | None:
        """The saturated model's log-likelihood minus the ELBO: an upper bound, comparable with published NELBOs."""
        return None if self.saturated is None else self.saturated - self.measurement.elbo.mean

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"data": len(self.measurement.elbo.pointwise)}
        measured = self.measurement.to_json()
        found["evidence_why"] = measured.pop("why")
        for name, estimate in (
            measured | {"rate": self.rate.to_json(), "distortion": self.distortion.to_json()}
        ).items():
            found[name] = estimate.pop("mean")
            found |= {f"{name}_{key}": value for key, value in estimate.items()}
        if self.saturated is not None:
            found["deviance"] = finite(self.saturated - self.measurement.elbo.mean)
            found["deviance_se"] = found["elbo_se"]
            found["evidence_deviance"] = finite(self.saturated - self.measurement.evidence.mean)
        if self.pixels is not None and self.bits is not None:
            found["bits_per_number"], found["bits_per_number_se"] = finite(self.bits), finite(self.bits_se)
            found["evidence_bits_per_number"] = finite(bits_per_number(self.measurement.evidence.mean, self.pixels))
        return found


@dataclass(frozen=True)
class Summary:
    """The final table of a training.

    Arguments:
        run: Its folder.
        pair: Model and guide in words.
        objective: What was maximised, ``"elbo"``, ``"likelihood"`` or ``"sleep"``, or in words what was minimised.
        estimator: Of the gradient, or how the likelihood was come by.
        best_epoch: The epoch whose state was measured.
        epochs: How many were trained.
        splits: By name.
        notes: What a reader must know.
        chosen_by: The validation number that chose the epoch; empty for none, the last epoch it is then.
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

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "pair": self.pair,
            "objective": self.objective,
            "chosen_by": self.chosen_by or None,
            "estimator": self.estimator,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "splits": {name: split.to_json() for name, split in self.splits.items()},
            "notes": list(self.notes),
        }

    def table(self) -> Table:
        trained = {
            "elbo": "",
            "likelihood": " trained on the likelihood",
            "sleep": ", the guide trained on pairs that the model drew",
        }.get(self.objective, f" trained on {self.objective}")
        table = Table(
            title=f"{self.pair}{trained}: nats per datum, higher is better "
            f"(best of {self.epochs} epoch{'s' if self.epochs != 1 else ''}: {self.best_epoch})"
        )
        table.min_width = 78
        table.add_column("split")
        text = any(split.deviance is not None for split in self.splits.values())
        images = any(split.pixels for split in self.splits.values())
        further = [*(["deviance"] if text else []), *(["bits/pixel"] if images else [])]
        for name in ("data", "rate", "distortion", "ELBO", "evidence", "gap", *further):
            table.add_column(name, justify="right")
        for name, split in self.splits.items():
            m = split.measurement
            cells = [
                str(len(m.elbo.pointwise)),
                *(e.figure for e in (split.rate, split.distortion, m.elbo, m.evidence, m.gap)),
            ]
            if text:
                cells.append("" if split.deviance is None else f"{split.deviance:.2f}{_error(m.elbo.se)}")
            if images:
                cells.append("" if split.bits is None else f"{split.bits:.3f}{_error(split.bits_se)}")
            table.add_row(name, *cells)
        methods = {s.measurement.evidence.method: s.measurement.evidence.bound for s in self.splits.values()}
        directions = {"exact": ", exact", "lower": ", a lower bound"}
        words = [f"evidence: {m}{directions.get(b, ', approximate')}" for m, b in methods.items()]
        if self.objective not in ("elbo", "likelihood", "sleep"):
            chosen = {
                "elbo": "the ELBO of validation data chose the epoch",
                "": "validation did not choose: the last epoch counts",
            }
            which = chosen.get(self.chosen_by, "what was minimised, on validation data, chose the epoch")
            words.append(f"all figures are the model's own, with beta = 1; {which}")
        if any(s.measurement.elbo.se for s in self.splits.values()):
            words.append("+- is the Monte Carlo standard error of the mean over these data")
        if text:
            words.append("deviance: saturated log-likelihood minus ELBO, lower is better")
        if images:
            words.append(
                "bits/pixel: 8 minus the ELBO in bits a number, lower is better; a code's length for bytes that were "
                "dequantised, of other data none"
            )
        table.caption = "; ".join(words)
        return table

    def __str__(self) -> str:
        console = Console(width=110)
        with console.capture() as captured:
            console.print(self.table())
        return captured.get() + "".join(f"note: {line}\n" for line in self.warnings)

    @property
    def warnings(self) -> list[str]:
        """What each split's evidence is to be mistrusted for, and where its bound is not the sum of its parts."""
        lines = [
            f"{name}: {line}" for name, split in self.splits.items() for line in split.measurement.evidence.warnings
        ]
        drawn = [f"{s.apart:+.3g} ({name})" for name, s in self.splits.items() if s.rate.draws and abs(s.apart) > 1e-3]
        if drawn:
            lines.append(
                "rate and distortion are measured by draws of their own: their sum is not minus the ELBO, but beside "
                f"it by {', '.join(drawn)} nats"
            )
        return lines

    def draw(self, figure: Any, rows: list[dict[str, Any]]) -> None:
        """The course of training, with the final bound and evidence of each split at its right edge."""
        curve, bars = figure.subplots(1, 2, width_ratios=[3, 2])
        epochs = [row["epoch"] for row in rows]
        kinds = {"evidence": "evidence", "conditional": "log q(z given x) of drawn pairs", "elbo": "ELBO"}
        measures = next(name for name in kinds if name == "elbo" or (rows and f"train_{name}" in rows[-1]))
        longest = 0
        for (name, split), colour in zip(self.splits.items(), OKABE_ITO, strict=False):
            if rows and f"{name}_{measures}" in rows[-1]:
                curve.plot(
                    epochs,
                    [row[f"{name}_{measures}"] for row in rows],
                    color=colour,
                    marker=marker(epochs),
                    label="training" if name == "train" else name,
                )
            bars.barh(name, split.measurement.gap.mean, color=colour)
            note = f" {split.measurement.gap.mean:.3f}"
            bars.annotate(note, (split.measurement.gap.mean, name), va="center")
            longest = max(longest, len(note))
        curve.axvline(self.best_epoch, color="0.6", linestyle=":", label=f"chosen epoch {self.best_epoch}")
        whole(curve.xaxis)
        curve.set(xlabel="epoch", ylabel=f"{kinds[measures]} (nats per datum)", title="Training")
        curve.legend(frameon=False)
        most = max((s.measurement.gap.mean for s in self.splits.values()), default=1.0)
        kind = {s.measurement.gap.bound for s in self.splits.values()}
        word = "gap, at least" if "lower" in kind else "gap" if kind == {"exact"} else "gap, about"
        bars.set(
            xlabel=f"{word} (nats per datum)",
            title="Evidence minus ELBO",
            xlim=(0, max(most, 1e-6) / (0.98 - min(0.03 * longest, 0.5))),
        )
        bars.invert_yaxis()
        figure.suptitle(self.pair)


def _error(se: float) -> str:
    return f" +- {se:.2g}" if se else ""

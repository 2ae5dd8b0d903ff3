"""Runs side by side: what their bounds, their models and their guides differ by on the same data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.evidence.results import Estimate, Evidence, difference, finite

__all__ = ["Compared", "Comparison", "Difference"]

MOST_RUNS = len(ascii_uppercase)


@dataclass(frozen=True)
class Compared:
    """One of the runs that are compared.

    Arguments:
        name: Its folder.
        pair: Model and guide in words.
        objective: What was maximised, ``"elbo"`` or ``"likelihood"``.
        model: Anything that is the same for two runs exactly if their models differ only by their parameters.
        measurement: Bound, evidence and gap of the data compared on.
        train: The evidence of the training data; None where those of the runs are not the same.
        gap: The gap's parts, where they are known.
        saturated: Mean log-likelihood of documents under their own word frequencies; None for other data.
        notes: What a reader must know.
    """

    name: str
    pair: str
    objective: str
    model: str
    measurement: Evidence
    train: Estimate | None = None
    gap: Gap | None = None
    saturated: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A mean difference of two numbers of the same data, in nats per datum.

    Arguments:
        pointwise: One difference a datum, ``(data,)``.
        sign: How the number stands to the true one: ``""`` exact or unbiased, ``">="`` below it, ``"<="`` above it,
            ``"~"`` not known: a difference of two bounds, or of what is only close.
    """

    pointwise: Tensor
    sign: str

    @classmethod
    def of(cls, one: Estimate, other: Estimate) -> Difference:
        """What the first has more than the second."""
        signs = {"lower": ">=", "upper": "<=", "between": "~", "approximate": "~"}
        sign = signs.get(difference(one.bound, other.bound), "")
        return cls(one.pointwise.double().cpu() - other.pointwise.double().cpu(), sign)

    @property
    def mean(self) -> float:
        return self.pointwise.mean().item()

    @property
    def se(self) -> float:
        """Standard error over the data; the noise of the draws, where there were any, is a part of it."""
        return float(self.pointwise.std() / len(self.pointwise) ** 0.5) if len(self.pointwise) > 1 else math.nan

    def to_json(self) -> dict[str, Any]:
        return {"mean": finite(self.mean), "se": finite(self.se), "sign": self.sign, "data": len(self.pointwise)}

    def __str__(self) -> str:
        return f"{self.sign} {self.mean:.3f} +- {self.se:.2g}".strip()


@dataclass(frozen=True)
class Comparison:
    r"""Several runs measured on the same data.

    Where a run was trained on the likelihood, the approximation error of every run of the same model is

    .. math:: \mathbb{E}[\log p_{\theta^*}(x) - \log p_\theta(x)]

    (Schlesinger, Shekhovtsov and Flach 2021, eq. 4), with :math:`\theta^*` the parameters of the run trained on the
    likelihood that explains the training data best.

    Arguments:
        split: The data compared on, in words.
        runs: At least one; differences are from the first.
        notes: What a reader must know.

    Raises:
        ValueError: If the runs were not measured on as many data, naming both.
    """

    split: str
    runs: tuple[Compared, ...]
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        first = self.runs[0]
        for run in self.runs[1:]:
            counts = [len(r.measurement.evidence.pointwise) for r in (first, run)]
            if counts[0] != counts[1]:
                raise ValueError(
                    f"{first.name} has {counts[0]} {self.split} data and {run.name} has {counts[1]}: runs are compared "
                    "on the same data"
                )

    def labelled(self) -> dict[str, Compared]:
        """The runs by letter."""
        return dict(zip(ascii_uppercase, self.runs, strict=False))

    def optimum(self, run: Compared) -> Compared | None:
        """The run that stands for the likelihood optimum of a run's model; None if there is no such run."""
        found = [r for r in self.runs if r.objective == "likelihood" and r.model == run.model]
        if len(found) > 1 and any(r.train is None for r in found):
            return None  # to choose by the split compared on would be to choose by the test
        return max(found, key=lambda r: (r.train or r.measurement.evidence).mean, default=None)

    def approximation_errors(self, run: Compared) -> dict[str, Difference]:
        """The approximation error of a run by split; empty where its model was not trained on the likelihood."""
        best = self.optimum(run)
        if best is None:
            return {}
        found = {}
        if best.train is not None and run.train is not None:
            found["train"] = Difference.of(best.train, run.train)
        return found | {self.split: Difference.of(best.measurement.evidence, run.measurement.evidence)}

    def differences(self, run: Compared) -> dict[str, Difference]:
        """Evidence and bound of a run minus those of the first."""
        first = self.runs[0].measurement
        return {
            "evidence": Difference.of(run.measurement.evidence, first.evidence),
            "elbo": Difference.of(run.measurement.elbo, first.elbo),
        }

    def pointwise(self) -> dict[str, Tensor]:
        """All values a datum by letter and name, for keeping."""
        return {f"{key}.{n}": v for key, run in self.labelled().items() for n, v in run.measurement.pointwise().items()}

    def to_json(self) -> dict[str, Any]:
        rows = []
        for run in self.runs:
            best, gap = self.optimum(run), run.gap
            rows.append(
                {"run": run.name, "pair": run.pair, "objective": run.objective, **run.measurement.to_json()}
                | {
                    "family_gap": gap and gap.family_gap.to_json(),
                    "amortisation_gap": gap and gap.amortisation_gap.to_json(),
                    "deviance": None if run.saturated is None else finite(run.saturated - run.measurement.elbo.mean),
                    "from_first": {name: d.to_json() for name, d in self.differences(run).items()},
                    "optimum": best and best.name,
                    "approximation_error": {n: d.to_json() for n, d in self.approximation_errors(run).items()},
                }
            )
        return {"split": self.split, "data": self._data, "runs": rows, "notes": list(self.notes + self._reading)}

    @property
    def _data(self) -> int:
        return len(self.runs[0].measurement.evidence.pointwise)

    @property
    def _reading(self) -> tuple[str, ...]:
        lines = [f"{key}: {line}" for key, run in self.labelled().items() for line in run.notes]
        lines += [
            f"{key}: {line}" for key, run in self.labelled().items() for line in run.measurement.evidence.warnings
        ]
        if any(self.approximation_errors(run) for run in self.runs):
            lines.append(
                "approximation error: evidence of the same model trained on the likelihood, minus the run's own; a "
                "negative value on training data means that training has not found the optimum, on others that the "
                "optimum overfits"
            )
        return tuple(lines)

    def _levels(self) -> Table:
        table = Table(title=f"nats per datum over {self._data} {self.split} data, higher is better")
        text, split = any(r.saturated is not None for r in self.runs), any(r.gap is not None for r in self.runs)
        parts = ["family gap", "amortisation gap"] if split else []
        table.add_column("")
        table.add_column("trained on")
        for name in ("ELBO", "evidence", "gap", *parts, *(["deviance"] if text else [])):
            table.add_column(name, justify="right")
        for key, run in self.labelled().items():
            m, gap = run.measurement, run.gap
            cells = [estimate.figure for estimate in (m.elbo, m.evidence, m.gap)]
            if split:
                cells += [f"{e.mean:.3f}" for e in (gap.family_gap, gap.amortisation_gap)] if gap else ["", ""]
            if text:
                cells.append("" if run.saturated is None else f"{run.saturated - m.elbo.mean:.2f}")
            table.add_row(key, _words(run), *cells)
        return table

    def _differences(self) -> Table:
        table = Table(title="+- is the standard error of the mean difference over the data")
        table.add_column("")
        splits = list(dict.fromkeys(name for run in self.runs for name in self.approximation_errors(run)))
        for name in ("evidence - A's", "ELBO - A's", *(f"approximation error, {split}" for split in splits)):
            table.add_column(name, justify="right")
        for key, run in self.labelled().items():
            errors = self.approximation_errors(run)
            shown = ["" if run is self.runs[0] else str(d) for d in self.differences(run).values()]
            own = self.optimum(run) is run
            shown += ["optimum" if own else str(errors.get(split, "")) for split in splits]
            table.add_row(key, *shown)
        return table

    def __str__(self) -> str:
        console = Console(width=110)
        with console.capture() as captured:
            for key, run in self.labelled().items():
                console.print(f"{key}  {run.name}: {run.pair}", soft_wrap=True, highlight=False, markup=False)
            console.print(self._levels(), self._differences())
            for line in self.notes + self._reading:
                console.print(f"note: {line}", highlight=False, markup=False)
        return captured.get().rstrip()

    def draw(self, figure: Any, title: str) -> None:
        """A bar a run from its ELBO up to its evidence, split into the parts of the gap where they are known."""
        axes = figure.subplots()
        optima = {r.name: _evidence(r) for r in map(self.optimum, self.runs) if r is not None}
        if len(optima) == 1:
            axes.axvline(*optima.values(), color="0.3", linestyle=":", label="evidence of the likelihood optimum")
        span = max(map(_evidence, self.runs)) - min(r.measurement.elbo.mean for r in self.runs) or 1.0
        seen: set[str] = set()
        for place, run in enumerate(self.runs):
            elbo, evidence = run.measurement.elbo.mean, _evidence(run)
            parts = [("gap, not split", evidence - elbo, "0.7")]
            if run.gap is not None:
                family = run.gap.family_gap.mean
                parts = [
                    ("amortisation gap", evidence - elbo - family, OKABE_ITO.orange),
                    ("family gap", family, OKABE_ITO.blue),
                ]
            left = elbo
            for name, width, colour in parts:
                axes.barh(place, width, left=left, color=colour, height=0.6, label=None if name in seen else name)
                seen.add(name)
                left += width
            sign = ">= " if run.measurement.evidence.bound == "lower" else ""
            axes.annotate(f"{elbo:.2f} ", (elbo, place), ha="right", va="center")
            beside = {"xytext": (6, 0), "textcoords": "offset points", "ha": "left", "va": "center"}
            label = axes.annotate(f"{sign}{evidence:.2f}", (evidence, place), **beside)
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
        words = {key: f"{run.pair.split(' (')[0]}\ntrained on {_words(run)}" for key, run in self.labelled().items()}
        axes.set_yticks(range(len(words)), [f"{key}: {line}" for key, line in words.items()])
        axes.invert_yaxis()
        low = min(run.measurement.elbo.mean for run in self.runs)
        axes.set(
            xlim=(low - 0.35 * span, low + 1.35 * span), xlabel="nats per datum: from ELBO to evidence", title=title
        )
        figure.legend(loc="outside lower center", ncols=4, frameon=False)


def _evidence(run: Compared) -> float:
    return run.measurement.evidence.mean


def _words(run: Compared) -> str:
    return run.objective.replace("elbo", "ELBO")

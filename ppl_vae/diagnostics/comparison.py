"""Comparison of runs on the same data: differences of their bounds, models and guides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, ClassVar

from ppl_vae.diagnostics.difference import Difference
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.evidence.bracket import Bracket, bracket_of
from ppl_vae.evidence.estimate import Estimate, finite
from ppl_vae.evidence.figures import draw_gap_bars
from ppl_vae.evidence.intervals import Ends
from ppl_vae.evidence.results import Evidence, Result
from ppl_vae.evidence.tables import text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Compared", "Comparison", "with_shared_evidence"]

MOST_RUNS = len(ascii_uppercase)


@dataclass(frozen=True)
class Compared:
    """One of the runs that are compared.

    Arguments:
        name: Folder of the run.
        pair: Description of model and guide.
        objective: The training objective, ``"elbo"`` or ``"likelihood"``.
        model: Identity of the model up to its parameters: equal for two runs of the same model.
        measurement: Bound, evidence and gap of the compared data.
        train: The evidence of the training data; None where the runs have different ones.
        gap: The parts of the gap, where they are known.
        saturated: Mean log-likelihood of documents under their own word frequencies; None for other data.
        notes: Remarks on its measurement.
        state: Digest of the model's parameters; empty where equal ones would not prove that the model is the same.
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
    state: str = ""

    def is_one_model_with(self, other: Compared) -> bool:
        """Whether two runs have one model with the same parameters, and so the same evidence."""
        return bool(self.state) and (self.model, self.state) == (other.model, other.state)


def with_shared_evidence(runs: Sequence[Compared]) -> tuple[Compared, ...]:
    """The same runs, those of one model in one state with the best evidence that any of them has measured.

    The evidence does not depend on the guide, so that an exact one, else the highest lower bound, less two errors of
    its draws, serves all; one is chosen for all data, since the higher of two lower bounds, chosen for each datum, is
    none. The limits of its bracket allow for the choice.
    """
    return tuple(_sharing(run, [other for other in runs if run.is_one_model_with(other)]) for run in runs)


def _sharing(run: Compared, others: Sequence[Compared]) -> Compared:
    evidences = [other.measurement.evidence for other in (run, *others)]
    best = max(evidences, key=lambda e: (_RANK.get(e.bound, 0), e.mean - 2 * e.se))
    own = run.measurement
    gap = own.gap if best is own.evidence else best.minus(own.elbo)
    if best.bound == "lower" and len(others) > 1:
        best = replace(best, selection=best.selection + math.log(len(others)))
    return run if best is own.evidence else replace(run, measurement=replace(own, evidence=best, gap=gap))


_RANK = {"exact": 2, "unbiased": 1, "lower": 1}
"""Which evidences are taken before others, whatever their values."""


@dataclass(frozen=True)
class Comparison(Result):
    r"""Several runs measured on the same data.

    Where a run was trained on the likelihood, the approximation error of every run of the same model is

    .. math:: \mathbb{E}[\log p_{\theta^*}(x) - \log p_\theta(x)]

    (Schlesinger, Shekhovtsov and Flach 2021, eq. 4), with :math:`\theta^*` the parameters of the run trained on the
    likelihood that explains the training data best.

    Arguments:
        split: Name of the compared split.
        runs: At least one run; differences are from the first.
        notes: Remarks on the comparison.

    Raises:
        ValueError: If the runs were measured on different numbers of data, naming both.
    """

    split: str
    runs: tuple[Compared, ...]
    notes: tuple[str, ...] = field(default=())

    panels: ClassVar[tuple[float, ...]] = (1,)

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
        """Returns the runs by letter."""
        return dict(zip(ascii_uppercase, self.runs, strict=False))

    def optimum(self, run: Compared) -> Compared | None:
        """Returns the run taken as the likelihood optimum of a run's model; None if there is none."""
        parts = [r for r in self.runs if r.objective == "likelihood" and r.model == run.model]
        if len(parts) > 1 and any(r.train is None for r in parts):
            return None  # choosing by the compared split would be choosing by the test data
        return max(parts, key=lambda r: (r.train or r.measurement.evidence).mean, default=None)

    def approximation_errors(self, run: Compared) -> dict[str, Difference]:
        """Returns the approximation error of a run by split; empty if its model was not trained on the likelihood."""
        best = self.optimum(run)
        if best is None:
            return {}
        values = {}
        if best.train is not None and run.train is not None:
            values["train"] = Difference.of(best.train, run.train, one_model=best.is_one_model_with(run))
        return values | {self.split: self._evidence_difference(best, run)}

    def differences(self, run: Compared) -> dict[str, Difference]:
        """Returns evidence and bound of a run minus those of the first."""
        first = self.runs[0]
        return {
            "evidence": self._evidence_difference(run, first),
            "elbo": Difference.of(run.measurement.elbo, first.measurement.elbo),
        }

    def _evidence_difference(self, one: Compared, other: Compared) -> Difference:
        evidences = one.measurement.evidence, other.measurement.evidence
        return Difference.of(*evidences, one_model=one.is_one_model_with(other))

    def ends(self, name: str) -> Ends:
        letter, _, what = name.partition(": ")
        run = self.labelled()[letter]
        return run.measurement.ends(what) if what in run.measurement.rows() or run.gap is None else run.gap.ends(what)

    def rows(self) -> dict[str, Estimate]:
        rows: dict[str, Estimate] = {}
        for letter, run in self.labelled().items():
            rows |= {f"{letter}: {name}": estimate for name, estimate in run.measurement.rows().items()}
            if run.gap is not None:
                rows[f"{letter}: family gap"] = run.gap.family_gap
                rows[f"{letter}: amortisation gap"] = run.gap.amortisation_gap
        return rows

    def brackets(self) -> dict[str, Bracket]:
        found = {letter: bracket_of(run.measurement.evidence) for letter, run in self.labelled().items()}
        return {f"{letter}: evidence": bracket for letter, bracket in found.items() if bracket is not None}

    def to_json(self) -> dict[str, Any]:
        content = super().to_json()
        for letter, run in self.labelled().items():
            best = self.optimum(run)
            content[letter] |= {
                "run": run.name,
                "pair": run.pair,
                "objective": run.objective,
                "deviance": None if run.saturated is None else finite(run.saturated - run.measurement.elbo.mean),
                "from_first": {name: d.to_json() for name, d in self.differences(run).items()},
                "optimum": best and best.name,
                "approximation_error": {n: d.to_json() for n, d in self.approximation_errors(run).items()},
            }
        return content | {"split": self.split}

    @property
    def warnings(self) -> tuple[str, ...]:
        lines = list(self.notes)
        for letter, run in self.labelled().items():
            of_gap = () if run.gap is None else run.gap.warnings
            lines += [f"{letter}: {line}" for line in dict.fromkeys((*run.notes, *run.measurement.warnings, *of_gap))]
        if any(self.approximation_errors(run) for run in self.runs):
            lines.append(
                "approximation error: evidence of the same model trained on the likelihood, minus the run's own; a "
                "negative value on training data means that training has not found the optimum, on other data that the "
                "optimum overfits"
            )
        return tuple(lines)

    def table(self) -> str:
        runs = [
            f"{letter}  {run.name}: {run.pair}; evidence: {run.measurement.evidence.how}"
            for letter, run in self.labelled().items()
        ]
        return "\n".join([*runs, self._levels(), self._differences()])

    def _levels(self) -> str:
        rows, labelled = self.rows(), self.labelled()
        names = ["ELBO", "evidence", "gap"]
        if any(run.gap is not None for run in self.runs):
            names += ["family gap", "amortisation gap"]
        text = ["deviance"] if any(run.saturated is not None for run in self.runs) else []
        lines = []
        for letter, run in labelled.items():
            estimates = [rows.get(f"{letter}: {name}") for name in names]
            cells = ["" if estimate is None else estimate.figure for estimate in estimates]
            if text:
                cells.append("" if run.saturated is None else f"{run.saturated - run.measurement.elbo.mean:.2f}")
            lines.append((letter, _objective(run), *cells))
        title = f"nats per datum over {self.data} {self.split} data, higher is better"
        caption = "; ".join(filter(None, (self.signs_in_words(), self.errors_in_words())))
        columns = ("", "trained on", *names, *text)
        return text_table(title, columns, lines, left=("", "trained on"), caption=caption, width=126)

    def _differences(self) -> str:
        splits = list(dict.fromkeys(name for run in self.runs for name in self.approximation_errors(run)))
        lines = []
        for letter, run in self.labelled().items():
            errors, is_optimum = self.approximation_errors(run), self.optimum(run) is run
            cells = ["" if run is self.runs[0] else str(d) for d in self.differences(run).values()]
            cells += ["optimum" if is_optimum else str(errors.get(split, "")) for split in splits]
            lines.append((letter, *cells))
        columns = ("", "evidence - A's", "ELBO - A's", *(f"approximation error, {split}" for split in splits))
        shown = [cell for line in lines for cell in line[1:]]
        caption = ["+-: standard error over the data, which are paired, the noise of draws included"]
        if any(each.estimate.bound not in ("exact", "unbiased") for run in self.runs[1:] for each in self._all(run)):
            caption.append("elsewhere the 95% interval from the lower bound of one and the upper bound of the other")
        if any("not known" in cell for cell in shown):
            caption.append("not known: neither has an upper bound that can be trusted")
        return text_table("differences, nats per datum", columns, lines, caption="; ".join(caption))

    def _all(self, run: Compared) -> list[Difference]:
        return [*self.differences(run).values(), *self.approximation_errors(run).values()]

    @property
    def size(self) -> tuple[float, float]:
        return 9, 1.9 + 0.6 * len(self.runs)

    def draw_panels(self, *axes: Axes) -> None:
        """Draws a bar per run from its ELBO up to its evidence, divided into the parts of the gap where known."""
        (bars,) = axes
        optima = {r.name: r.measurement.evidence.mean for r in map(self.optimum, self.runs) if r is not None}
        if len(optima) == 1:
            label = "evidence of the likelihood optimum"
            bars.axvline(*optima.values(), color="0.3", linestyle=":", zorder=1, label=label)
        levels = {}
        for letter, run in self.labelled().items():
            label = f"{letter}: {run.pair.split(' (')[0]}\ntrained on {_objective(run)}"
            levels[label] = ({} if run.gap is None else run.gap.rows()) | run.measurement.rows()
        draw_gap_bars(bars, levels)


def _objective(run: Compared) -> str:
    return run.objective.replace("elbo", "ELBO")

"""What each richer guide buys: one model, a ladder of guides, from the smallest family's ELBO up to the evidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.split import UnknownFamilyError, split_gap
from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.results import Estimate, Evidence
from ppl_vae.programs.types import Program

__all__ = ["Ladder", "Rung", "ladder"]


@dataclass(frozen=True)
class Rung:
    """One guide of a ladder.

    Arguments:
        elbo: Its ELBO.
        best: The ELBO of the best member of its family; None where the family is not known.
        family: The family, in words, or why it is not known.
    """

    elbo: Estimate
    best: Estimate | None
    family: str


@dataclass(frozen=True)
class Ladder:
    """The ELBOs of one model under guides of growing families, and its evidence, datum by datum.

    Arguments:
        evidence: log p(x), the same for all.
        rungs: By name of the guide, from the smallest family up.
        remarks: On how the guides were fitted.
    """

    evidence: Estimate
    rungs: dict[str, Rung]
    remarks: tuple[str, ...] = ()

    def steps(self) -> dict[str, Estimate]:
        """What each guide gains over the one below it, and the evidence over the last, datum by datum."""
        elbos = {name: rung.elbo for name, rung in self.rungs.items()} | {"evidence": self.evidence}
        return {name: high.minus(low) for (_, low), (name, high) in pairwise(elbos.items())}

    def gaps(self, name: str) -> tuple[Estimate, Estimate] | None:
        """Amortisation gap and family gap of a guide; None where its family is not known."""
        rung = self.rungs[name]
        if rung.best is None:
            return None
        return rung.best.minus(rung.elbo), self.evidence.minus(rung.best)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know before believing the numbers."""
        lines = list(self.remarks) + list(self.evidence.warnings)
        for (below, name), step in zip(pairwise(self.rungs), self.steps().values(), strict=False):
            if step.mean < -3 * max(step.se, 0.0 if math.isnan(step.data_se) else step.data_se) - 1e-6:
                lines.append(
                    f"the ELBO falls from {below} to {name} by {-step.mean:.3f} +- {step.data_se:.2g} nats: where the "
                    f"family of {name} contains that of {below}, this is a matter of training, not of the family"
                )
        for name, rung in self.rungs.items():
            if rung.best is None:
                lines.append(f"{name}: {rung.family}")
        return tuple(lines)

    def pointwise(self) -> dict[str, Tensor]:
        """All values a datum by name, for keeping."""
        found = {"evidence": self.evidence}
        for name, rung in self.rungs.items():
            found |= {f"{name}.elbo": rung.elbo} | ({} if rung.best is None else {f"{name}.best": rung.best})
        errors = {f"{key}_se": e.pointwise_se for key, e in found.items() if e.pointwise_se is not None}
        return {key: e.pointwise for key, e in found.items()} | errors

    def to_json(self) -> dict[str, Any]:
        rungs: dict[str, Any] = {}
        steps = self.steps()
        for name, rung in self.rungs.items():
            rungs[name] = {"elbo": rung.elbo.to_json(), "family": rung.family}
            gaps = self.gaps(name)
            if gaps is not None and rung.best is not None:
                values = {"best_of_family": rung.best, "amortisation_gap": gaps[0], "family_gap": gaps[1]}
                rungs[name] |= {key: estimate.to_json() for key, estimate in values.items()}
            if name in steps:
                rungs[name]["step"] = steps[name].to_json()
        return {
            "evidence": self.evidence.to_json() | {"step": steps["evidence"].to_json()},
            "rungs": rungs,
            "data": len(self.evidence.pointwise),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        table = Table(title=f"nats per datum over {len(self.evidence.pointwise)} data, the model fixed")
        for column in ("guide", "ELBO", "step up", "amortisation gap", "family gap", "best of family"):
            table.add_column(column, justify="left" if column == "guide" else "right")
        steps = self.steps()
        for name, rung in self.rungs.items():
            gaps = self.gaps(name)
            known = [gap.figure for gap in gaps] if gaps else ["", ""]
            step = _signed(steps[name].mean, steps[name]) if name in steps else ""
            table.add_row(name, rung.elbo.figure, step, *known, rung.best.figure if rung.best else "not known")
        last = steps["evidence"]
        table.add_row("evidence", self.evidence.figure, _signed(last.mean, last), "", "", "")
        table.caption = (
            f"evidence: {self.evidence.method}, {self.evidence.bound}\n"
            "step up: over the guide below, paired by datum, +- its standard error over the data; "
            "elsewhere +- is the Monte Carlo error"
        )
        console = Console(width=126)
        with console.capture() as captured:
            console.print(table)
        return captured.get() + "".join(f"note: {line}\n" for line in self.notes)

    def draw(self, figure: Any, title: str) -> None:
        """A staircase from the ELBO of the smallest family up to the evidence."""
        axes = figure.subplots()
        levels = {name: rung.elbo.mean for name, rung in self.rungs.items()} | {"evidence": self.evidence.mean}
        names, heights, steps = list(levels), list(levels.values()), self.steps()
        span = max(max(heights) - min(heights), 1e-9)
        floor = min(heights) - 0.35 * span
        for i, (name, height) in enumerate(levels.items()):
            colour = "0.75" if name == "evidence" else OKABE_ITO.sky_blue
            axes.bar(i, height - floor, bottom=floor, width=1.0, color=colour, edgecolor="white")
            if name in steps:
                step = steps[name]
                rising = step.mean >= 0
                axes.bar(
                    i,
                    step.mean,
                    bottom=heights[i - 1],
                    width=1.0,
                    color=OKABE_ITO.blue if rising else OKABE_ITO.vermilion,
                )
                axes.annotate(
                    f"{_signed(step.mean, step)}", (i, max(height, heights[i - 1])), (0, 3),
                    textcoords="offset points", ha="center", va="bottom",
                )  # fmt: skip
            axes.annotate(f"{height:.2f}", (i, floor + 0.03 * span), ha="center", va="bottom")
        best = {i: rung.best.mean for i, rung in enumerate(self.rungs.values()) if rung.best is not None}
        if best:
            label = "best member of the guide's family, for each datum alone"
            axes.plot(
                list(best), list(best.values()), "D", color=OKABE_ITO.orange, markeredgecolor="black", label=label
            )
            axes.legend(frameon=False, loc="upper left")
        sign = {"lower": " (at least)", "upper": " (at most)"}.get(self.evidence.bound, "")
        axes.set_xticks(range(len(names)), [*names[:-1], f"evidence{sign}"])
        axes.set(ylim=(floor, max(heights) + 0.35 * span), ylabel="ELBO (nats per datum)")
        figure.suptitle(title)


def _signed(value: float, step: Estimate) -> str:
    return f"{value:+.3f} +- {step.data_se:.2g}"


def ladder(
    model: Program,
    guides: Mapping[str, Program],
    x: Any,
    *,
    draws: int = 200,
    most_bits: int = 16,
    remarks: tuple[str, ...] = (),
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Ladder:
    """Measures one model under several guides.

    The evidence does not depend on the guide: the exact one is taken where there is one, else the highest of the lower
    bounds. Guides of one family share its best members, those of the search that found the better ones: a search begins
    at the guide. A guide whose family is not known has its ELBO measured only.

    Arguments:
        model: The generative model.
        guides: By name, from the smallest family up.
        x: The data.
        draws: A datum, where they are needed.
        most_bits: Longest code to enumerate.
        remarks: On how the guides were fitted.
        progress: Called with the number of data done since the last call, each counted once a guide.
        options: Others of :func:`~ppl_vae.diagnostics.gap.split.split_gap`.

    Returns:
        A :class:`Ladder`, in nats per datum.

    Raises:
        ValueError: If there are no guides, or as :func:`~ppl_vae.diagnostics.gap.split.split_gap`.
    """
    if not guides:
        raise ValueError("a ladder needs at least one guide")
    found: dict[str, Gap | Evidence] = {}
    unknown = {}
    for name, guide in guides.items():
        try:
            found[name] = split_gap(model, guide, x, draws=draws, most_bits=most_bits, progress=progress, **options)
        except UnknownFamilyError as error:
            found[name], unknown[name] = (
                measure(model, guide, x, draws=draws, most_bits=most_bits),
                str(error).split(";")[0],
            )
            if progress:
                progress(len(x))
    evidences = [each.evidence for each in found.values()]
    evidence = next((e for e in evidences if e.bound == "exact"), max(evidences, key=lambda e: e.mean))
    bests: dict[str, Estimate] = {}
    for each in found.values():
        if isinstance(each, Gap):
            # Where every distribution is a member the posterior is, whichever guide its evidence came from.
            best = evidence if each.best is each.evidence else each.best
            bests[each.family] = max(bests.get(each.family, best), best, key=lambda e: e.mean)
    rungs = {
        name: Rung(each.elbo, bests[each.family], each.family)
        if isinstance(each, Gap)
        else Rung(each.elbo, None, unknown[name])
        for name, each in found.items()
    }
    return Ladder(evidence, rungs, remarks)

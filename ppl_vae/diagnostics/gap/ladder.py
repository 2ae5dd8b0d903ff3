"""The ELBO of one model under a ladder of guides, from the smallest family up to the evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from ppl_vae.data.inputs import as_batch
from ppl_vae.diagnostics.gap.gap import STRUCTURE, Gap
from ppl_vae.diagnostics.gap.split import UnknownFamilyError, split_gap
from ppl_vae.evidence.bracket import Bracket, bracket_of
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.evidence.intervals import Ends, ends, minus
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.results import Evidence, Result
from ppl_vae.evidence.tables import html_table, text_table
from ppl_vae.programs.masked import masks_verified
from ppl_vae.programs.support import checked
from ppl_vae.programs.types import Program, Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Ladder", "Rung", "ladder"]


@dataclass(frozen=True)
class Rung:
    """One guide of a ladder.

    Arguments:
        elbo: ELBO of the guide.
        best: ELBO of the best member of its family; None where the family is not known.
        family: Name of the family, or why it is not known.
        notes: Reasons for caution about its gap.
    """

    elbo: Estimate
    best: Estimate | None
    family: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ladder(Result):
    """The ELBOs of one model under guides of growing families, and its evidence.

    Arguments:
        evidence: log p(x), the same for all guides.
        rungs: The rungs by name of the guide, from the smallest family up.
        fits: Remarks on how the guides were fitted.
    """

    evidence: Estimate
    rungs: dict[str, Rung]
    fits: tuple[str, ...] = ()

    panels: ClassVar[tuple[float, ...]] = (1,)

    def steps(self) -> dict[str, Estimate]:
        """Returns the gain of each guide over the one below it, and of the evidence over the last."""
        elbos = {name: rung.elbo for name, rung in self.rungs.items()} | {"evidence": self.evidence}
        return {name: high.minus(low) for (_, low), (name, high) in pairwise(elbos.items())}

    def ends(self, name: str) -> Ends:
        guide, _, what = name.partition(": ")
        if what == "step" and guide == "evidence":
            return minus(ends(self.evidence), ends([*self.rungs.values()][-1].elbo))
        best = self.rungs[guide].best if guide in self.rungs else None
        if what == "amortisation gap" and best is not None:
            return minus(ends(best), ends(self.rungs[guide].elbo))
        if what == "family gap" and best is not None:
            return minus(ends(self.evidence), ends(best))
        return super().ends(name)

    def gaps(self, name: str) -> tuple[Estimate, Estimate] | None:
        """Returns amortisation gap and family gap of a guide; None where its family is not known."""
        rung = self.rungs[name]
        if rung.best is None:
            return None
        return rung.best.minus(rung.elbo), self.evidence.minus(rung.best)

    def rows(self) -> dict[str, Estimate]:
        rows = {"evidence": self.evidence}
        for name, rung in self.rungs.items():
            rows[f"{name}: ELBO"] = rung.elbo
            gaps = self.gaps(name)
            if rung.best is not None and gaps is not None:
                rows[f"{name}: best of family"] = rung.best
                rows[f"{name}: amortisation gap"], rows[f"{name}: family gap"] = gaps
        return rows | {f"{name}: step": step for name, step in self.steps().items()}

    def brackets(self) -> dict[str, Bracket]:
        bracket = bracket_of(self.evidence)
        return {} if bracket is None else {"evidence": bracket}

    def remarks(self) -> Iterator[str]:
        yield from self.fits
        for (below, name), step in zip(pairwise(self.rungs), self.steps().values(), strict=False):
            if step.mean < -3 * max(step.se, 0.0 if math.isnan(step.data_se) else step.data_se) - 1e-6:
                yield (
                    f"the ELBO falls from {below} to {name} by {-step.mean:.3f} +- {step.data_se:.2g} nats: where the "
                    f"family of {name} contains that of {below}, this is due to training, not to the family"
                )
        for name, rung in self.rungs.items():
            if rung.best is None:
                yield f"{name}: {rung.family}"
            yield from (f"{name}: {note}" for note in rung.notes)

    def facts(self) -> dict[str, Any]:
        return {"families": {name: rung.family for name, rung in self.rungs.items()}}

    def losses(self) -> Tensor:
        return self.steps()["evidence"].pointwise

    def _grid(self) -> tuple[str, tuple[str, ...], list[tuple[str, ...]], str]:
        """Title, heads, rows and caption of the table."""
        rows, levels = self.rows(), [*self.rungs, "evidence"]
        columns = {"ELBO": "ELBO", "step up": "step", "amortisation gap": "", "family gap": "", "best of family": ""}
        lines = list[tuple[str, ...]]()
        for name in levels:
            cells = {column: rows.get(f"{name}: {key or column}") for column, key in columns.items()}
            figures = {column: "" if estimate is None else self.figure(estimate) for column, estimate in cells.items()}
            if (step := cells["step up"]) is not None:
                figures["step up"] = _signed(step)
            if name == "evidence":
                figures["ELBO"] = self.figure(self.evidence)
            elif self.rungs[name].best is None:
                figures["best of family"] = "not known"
            lines.append((name, *figures.values()))
        of_steps = "step up: over the guide below, paired by datum, +- its standard error over the data, draws included"
        caption = "; ".join(filter(None, (f"evidence: {self.evidence.how}", self.signs_in_words(), of_steps)))
        if self.has_draws or self.split_size:
            caption += f"; elsewhere {self.errors_in_words()}"
        title = f"nats per datum over {self.data} data, the model fixed"
        return title, ("guide", *columns), lines, caption

    def table(self) -> str:
        title, columns, lines, caption = self._grid()
        return text_table(title, columns, lines, left=("guide",), caption=caption, width=126)

    def _repr_html_(self) -> str:
        title, columns, lines, caption = self._grid()
        return html_table(title, columns, lines, [caption, *self.warnings])

    def draw_panels(self, *axes: Axes) -> None:
        """Draws a staircase from the ELBO of the smallest family up to the evidence."""
        (stairs,) = axes
        levels = {name: rung.elbo.mean for name, rung in self.rungs.items()} | {"evidence": self.evidence.mean}
        heights, steps = list(levels.values()), self.steps()
        span = max(max(heights) - min(heights), 1e-9)
        floor = min(heights) - 0.35 * span
        for i, (name, height) in enumerate(levels.items()):
            colour = "0.75" if name == "evidence" else OKABE_ITO.sky_blue
            stairs.bar(i, height - floor, bottom=floor, width=1.0, color=colour, edgecolor="white")
            if name in steps:
                step = steps[name]
                colour = OKABE_ITO.blue if step.mean >= 0 else OKABE_ITO.vermilion
                stairs.bar(i, step.mean, bottom=heights[i - 1], width=1.0, color=colour)
                above: dict[str, Any] = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center"}
                stairs.annotate(_signed(step), (i, max(height, heights[i - 1])), **above)
            stairs.annotate(f"{height:.2f}", (i, floor + 0.03 * span), ha="center", va="bottom")
        best = {i: rung.best.mean for i, rung in enumerate(self.rungs.values()) if rung.best is not None}
        if best:
            marks: dict[str, Any] = {"color": OKABE_ITO.orange, "markeredgecolor": "black"}
            label = "best member of the guide's family, for each datum alone"
            stairs.plot(list(best), list(best.values()), "D", label=label, **marks)
            stairs.legend(frameon=False, loc="upper left")
        sign = {"lower": " (at least)", "upper": " (at most)"}.get(self.evidence.bound, "")
        stairs.set_xticks(range(len(levels)), [*self.rungs, f"evidence{sign}"])
        stairs.set(ylim=(floor, max(heights) + 0.35 * span), ylabel="ELBO (nats per datum)")


def _signed(step: Estimate) -> str:
    return f"{step.mean:+.3f} +- {step.data_se:.2g}"


def ladder(
    model: Program,
    guides: Mapping[str, Program],
    *data: object,
    draws: int = 200,
    most_bits: int = 16,
    fits: tuple[str, ...] = (),
    progress: Progress | None = None,
    **options: Any,  # those of split_gap
) -> Ladder:
    """Measures one model under several guides.

    The evidence does not depend on the guide: the exact one is taken where there is one, else the highest of the lower
    bounds. Guides of one family share its best members, those of the search that found the better ones: a search begins
    at the guide. A guide whose family is not known has its ELBO measured only.

    Arguments:
        model: The generative model.
        guides: Guides by name, from the smallest family up.
        data: Data as of :func:`~ppl_vae.evidence.measure.measure`.
        draws: Number of draws per datum, where they are needed.
        most_bits: Length of the longest code to enumerate.
        fits: Remarks on how the guides were fitted.
        progress: Called with the number of data completed since the last call, counted once per guide.
        options: Other options of :func:`~ppl_vae.diagnostics.gap.split.split_gap`.

    Returns:
        A :class:`Ladder`, in nats per datum.

    Raises:
        ValueError: If there are no guides, or as :func:`~ppl_vae.diagnostics.gap.split.split_gap`.
    """
    x = as_batch(*data)
    if not guides:
        raise ValueError("a ladder needs at least one guide")
    for guide in guides.values():
        if not callable(guide):
            raise ValueError(
                f"{guide!r} is no fitted guide; a guide is fitted by its name to the model of a run: "
                f"run.gap(ladder=[{guide!r}])"
            )
    values: dict[str, Gap | Evidence] = {}
    unknown = {}
    with masks_verified(model, x), checked(model, x):
        for name, guide in guides.items():
            try:
                values[name] = split_gap(
                    model, guide, x, draws=draws, most_bits=most_bits, progress=progress, **options
                )
            except UnknownFamilyError as error:
                values[name] = measure(model, guide, x, draws=draws, most_bits=most_bits)
                unknown[name] = str(error).split(";")[0]
                if progress:
                    progress(len(x))
    evidences = [each.evidence for each in values.values()]
    highest = max(evidences, key=lambda e: e.mean)
    highest = replace(highest, selection=max(each.selection for each in evidences) + math.log(len(evidences)))
    evidence = next((e for e in evidences if e.bound == "exact"), highest)
    bests: dict[str, Estimate] = {}
    for name, each in values.items():
        if isinstance(each, Gap):
            # Where every distribution is a member the posterior is, whichever guide its evidence came from.
            best = evidence if each.best is each.evidence else each.best
            shared = _shared_family(name, each)
            bests[shared] = max(bests.get(shared, best), best, key=lambda e: e.mean)
    rungs = {
        name: Rung(each.elbo, bests[_shared_family(name, each)], each.family, tuple(each.remarks()))
        if isinstance(each, Gap)
        else Rung(each.elbo, None, unknown[name])
        for name, each in values.items()
    }
    return Ladder(evidence, rungs, fits)


def _shared_family(name: str, gap: Gap) -> str:
    """The name under which guides share their best members: the guide's own for a structure of its own."""
    return name if gap.family.startswith(STRUCTURE) else gap.family

"""Results: labelled estimates of the same data, with their table, JSON, pointwise values and figure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch import Tensor

from ppl_vae.evidence.bracket import Bracket, bracket_of, bracket_of_gap
from ppl_vae.evidence.drawable import Drawable
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.figures import draw_gap_bars, draw_spread, folded
from ppl_vae.evidence.intervals import LEVEL, Ends, ends, minus
from ppl_vae.evidence.joining import join_fields
from ppl_vae.evidence.result_errors import ResultErrors
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.evidence.tables import html_table, noted, text_table
from ppl_vae.programs.random_state import positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["Evidence", "Result"]

STYLE = re.compile(r"\x1b\[[\d;]*m")
"""What a terminal shows as bold or slanted."""

COLUMNS = ("", "mean", "smallest", "median", "largest", "how")
"""Heads of the columns of a result's table."""


@dataclass(frozen=True, kw_only=True)
class Result(ResultErrors, Drawable):
    """Estimates of the same data by name.

    A subclass is a dataclass that names its estimates in :meth:`rows`. A name ``"group: name"`` belongs to a group:
    JSON nests it, ``{"group": {"name": ...}}``, and its pointwise values are called ``group.name``.

    Arguments:
        sample: Positions of the data in the split of which they are a random sample; None if they are all of it.
        split_size: Number of data of that split; None if they are all of it.
        cautions: Reasons for caution that belong to no single estimate.
    """

    sample: Tensor | None = field(default=None)
    split_size: int | None = field(default=None)
    cautions: tuple[str, ...] = field(default=())

    panels: ClassVar[tuple[float, ...]] = (3, 2)
    """Widths of the figure's panels."""

    def rows(self) -> dict[str, Estimate]:
        """The estimates by name, in the order of the table."""
        raise NotImplementedError

    def remarks(self) -> Iterable[str]:
        """Reasons for caution besides those of the single estimates."""
        return ()

    def facts(self) -> dict[str, Any]:
        """What JSON holds besides the estimates."""
        return {}

    def losses(self) -> Tensor | None:
        """The quantity that is largest for the worst data, ``(data,)``; None if the data are not ranked."""
        return None

    def title(self) -> str:
        """The title of the table."""
        return f"nats per datum over {self.data} data, higher is better"

    def caption(self) -> str:
        """The text below the table."""
        return ""

    def draw_panels(self, *axes: Axes) -> None:
        """Draws one panel of the figure in each of the axes."""
        raise NotImplementedError

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons not to take the numbers at face value, each once."""
        lines = (line for estimate in self.rows().values() for line in estimate.warnings)
        return tuple(dict.fromkeys([*self.remarks(), *self.cautions, *lines]))

    def worst(self, count: int = 5) -> list[int]:
        """Positions of the worst data, worst first."""
        losses = self.losses()
        return [] if losses is None else losses.topk(min(count, len(losses))).indices.tolist()

    def of_sample(self, sample: Tensor | None, split_size: int | None = None) -> Self:
        """The same result, its data known to be a sample of a split of this size at these positions; None is all."""
        return self if sample is None else replace(self, sample=sample, split_size=split_size)

    def pointwise(self) -> dict[str, Tensor]:
        """All values per datum by name.

        With ``_se`` for their standard errors, ``_k_hat`` for Pareto shapes, and ``_upper`` and ``_lower`` for bounds
        of the same in expectation.
        """
        values: dict[str, Tensor] = {}
        for name, estimate in self.rows().items():
            parts = {"": estimate.pointwise, "_se": estimate.pointwise_se, "_k_hat": estimate.k_hat}
            for side, bound in (("_upper", estimate.upper), ("_lower", estimate.lower)):
                if bound is not None:
                    parts |= {side: bound.pointwise, f"{side}_se": bound.pointwise_se}
            values |= {".".join(_path(name)) + end: part for end, part in parts.items() if part is not None}
        return values

    def to_json(self) -> dict[str, Any]:
        """All numbers and warnings, without the values per datum."""
        content: dict[str, Any] = {}
        for name, estimate in self.rows().items():
            *group, key = _path(name)
            described = estimate.to_json() | self.errors_to_json(name)
            (content.setdefault(group[0], {}) if group else content)[key] = described
        content |= {"data": self.data, **self.facts()}
        if self.split_size is not None:
            content["split_size"] = self.split_size
        if self.losses() is not None:
            content["worst"] = positions(self.worst(), self.sample)
        return content | {"warnings": list(self.warnings)}

    def table(self) -> str:
        """The table, without the warnings."""
        rows = self._cells()
        return text_table(self.title(), COLUMNS, rows, left=("", "how"), caption=self.described(), beneath=True)

    def _cells(self) -> list[tuple[str, ...]]:
        return [(name, self.figure(each), *_spread(each), each.how) for name, each in self.rows().items()]

    def to_frame(self) -> DataFrame:
        """The estimates as a pandas table with a row each: mean, its errors, direction, draws and method."""
        from pandas import DataFrame

        columns = ("mean", "se", "data_se", "bound", "draws", "method")
        return DataFrame({name: [getattr(e, name) for e in self.rows().values()] for name in columns}, [*self.rows()])

    def _repr_html_(self) -> str:
        """The table of a notebook, with brackets and notes below."""
        if type(self).table is not Result.table:  # of another form: as it is printed, in letters of one width
            return f"<pre>{escape(STYLE.sub('', str(self)))}</pre>"
        lines = [f"{name}: {bracket}" for name, bracket in self.brackets().items()]
        return html_table(self.title(), COLUMNS, self._cells(), [self.described(), *lines, *self.warnings])

    def described(self) -> str:
        """The caption, and what the errors are of."""
        return "; ".join(filter(None, (self.caption(), self.errors_in_words())))

    def __str__(self) -> str:
        brackets = (name[: name.find(": ") + 2 if ": " in name else 0] + str(b) for name, b in self.brackets().items())
        return "\n".join([self.table(), *brackets, *map(noted, self.warnings)])

    def __init_subclass__(cls) -> None:
        # Shown as a table instead of as tensors; in the class itself, which its dataclass then leaves as it is.
        cls.__repr__ = cls.__str__  # type: ignore[method-assign, assignment]

    def draw(self, figure: Figure, title: str) -> None:
        """Draws the result in panels side by side, under a title."""
        axes = figure.subplots(1, len(self.panels), width_ratios=self.panels, squeeze=False)
        self.draw_panels(*axes[0])
        figure.suptitle(title)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The result of all data from those of consecutive blocks."""
        cautions = dict.fromkeys(line for part in parts for line in part.cautions)
        return cls(**join_fields(parts) | {"cautions": tuple(cautions)})


def _path(name: str) -> list[str]:
    """The group, if there is one, and the key of an estimate's name."""
    *group, key = name.split(": ")
    return [*group, key.replace(" ", "_").lower()]


def _spread(estimate: Estimate) -> tuple[str, str, str]:
    """Smallest, median and largest value; nothing for a single one, which is the mean."""
    values = estimate.pointwise
    if len(values) == 1:
        return "", "", ""
    low, middle, high = (f"{value.item():.3f}" for value in (values.min(), values.median(), values.max()))
    return low, middle, high


@dataclass(frozen=True)
class Evidence(Result):
    """Bound, evidence and gap.

    Arguments:
        elbo: The evidence lower bound of each datum.
        evidence: log p(x) of each datum.
        gap: Evidence minus bound.
        why: Why the evidence is measured by this method.
        joint: Where data share latents, log p of all data together, ``(1,)``, in nats: a lower bound, or approximate if
            the evidence is. Else None.
        starts: Where chains have several starts, the evidence by each alone.
    """

    elbo: Estimate
    evidence: Estimate
    gap: Estimate
    why: str = ""
    joint: Estimate | None = None
    starts: dict[str, Estimate] = field(default_factory=dict)

    def rows(self) -> dict[str, Estimate]:
        return {"ELBO": self.elbo, "evidence": self.evidence, "gap": self.gap}

    @property
    def shortfall(self) -> Shortfall | None:
        """What the method misses of the evidence of simulated data; None where that is not measured."""
        return self.evidence.shortfall

    def bracket(self, level: float = LEVEL) -> Bracket | None:
        """Limits between which the mean of log p(x) lies at a level; None where it is exact."""
        return bracket_of(self.evidence, level)

    def brackets(self) -> dict[str, Bracket]:
        found = {"evidence": self.bracket(), "gap": bracket_of_gap(self.evidence, self.elbo)}
        return {name: bracket for name, bracket in found.items() if bracket is not None}

    def ends(self, name: str) -> Ends:
        if name != "gap" or self.evidence.bound != "lower":
            return super().ends(name)
        # From below the gap itself, of which evidence and bound share their draws.
        return self.gap, minus(ends(self.evidence), ends(self.elbo))[1]

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"why": self.why}
        if self.joint is not None:
            facts["joint_bound_of_all_data"] = self.joint.to_json()
        if self.starts:
            facts["evidence_by_start"] = {start: each.to_json() for start, each in self.starts.items()}
        return facts

    def losses(self) -> Tensor:
        return self.gap.pointwise

    def caption(self) -> str:
        if self.shortfall is None:
            return self.why
        count = len(self.shortfall.pointwise)
        return f"{self.why}; checked on {count} simulated data, of whose evidence it misses {self.shortfall} nats"

    def draw_panels(self, *axes: Axes) -> None:
        bars, spread = axes
        draw_gap_bars(bars, {"": self.rows()})
        bars.set_title(folded(self.evidence.method, 4.5))
        draw_spread(spread, {"gap": self.gap.pointwise}, xlabel="evidence minus ELBO (nats)")

    def noting(self, note: str) -> Evidence:
        """The same with a further reason for caution about the evidence."""
        return replace(self, evidence=replace(self.evidence, notes=(*self.evidence.notes, note)))

    def normalised(self, error: float) -> Evidence:
        """The same for a model whose log-normaliser has this standard error, which bound and evidence share."""
        return replace(self, elbo=self.elbo.normalised(error), evidence=self.evidence.normalised(error))

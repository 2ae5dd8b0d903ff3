"""Where the nats between evidence and ELBO go, datum by datum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from ppl_vae.evidence.figures import OKABE_ITO, bars_of_counts
from ppl_vae.evidence.results import Estimate
from ppl_vae.programs.random_state import positions

__all__ = ["ANY", "Gap"]

ANY = "all distributions of the code"
"""The family whose best member is the posterior."""


@dataclass(frozen=True)
class Gap:
    r"""Where the nats between evidence and ELBO go, datum by datum.

    .. math:: \log p(x) = \mathrm{ELBO} + \text{amortisation gap} + \text{family gap}

    (Cremer, Li and Duvenaud 2018, section 3.1.) The family gap is what the best member of the guide's family loses,
    chosen for this datum alone; the amortisation gap is what the guide's network loses against that member.

    Arguments:
        evidence: log p(x).
        best: The ELBO of the best member of the family.
        elbo: The ELBO of the guide.
        family: The family, in words.
        optimisation: By name, what there is to judge the search for the best member by.
        sample: Positions of these data in the split they were drawn from; None numbers them as they are.
    """

    evidence: Estimate
    best: Estimate
    elbo: Estimate
    family: str
    optimisation: dict[str, Estimate] = field(default_factory=dict)
    sample: Tensor | None = None

    @property
    def family_gap(self) -> Estimate:
        """Evidence minus best member: too wide by what the best member found falls short of the best there is."""
        return self.evidence.minus(self.best)

    @property
    def amortisation_gap(self) -> Estimate:
        """Best member minus guide: too narrow by as much."""
        return self.best.minus(self.elbo)

    def __post_init__(self) -> None:
        if self.family == ANY:  # also when put together again from what was kept
            object.__setattr__(self, "best", self.evidence)

    @classmethod
    def join(cls, parts: list[Gap]) -> Gap:
        """The gap of all data from those of consecutive blocks."""
        evidence, best, elbo = (Estimate.join([getattr(p, n) for p in parts]) for n in ("evidence", "best", "elbo"))
        names = [name for name in parts[0].optimisation if all(name in part.optimisation for part in parts)]
        optimisation = {name: Estimate.join([part.optimisation[name] for part in parts]) for name in names}
        return cls(evidence, best, elbo, parts[0].family, optimisation)

    def rows(self) -> dict[str, Estimate]:
        """The five numbers from the evidence down to the ELBO."""
        return {
            "evidence": self.evidence,
            "family gap": self.family_gap,
            "best of family": self.best,
            "amortisation gap": self.amortisation_gap,
            "ELBO": self.elbo,
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before believing the numbers."""
        lines = list(self.evidence.warnings)
        for name, gap, remedy in (
            ("family", self.family_gap, "the evidence lies too low: measure it with more draws, or by annealing"),
            ("amortisation", self.amortisation_gap, "the best member was not found: take more steps"),
        ):
            if gap.mean < -3 * gap.se - 1e-6:
                lines.append(f"the {name} gap came out negative, which no true one is; {remedy}")
        return tuple(lines)

    def worst(self, count: int = 5) -> list[int]:
        """Positions of the data with the widest gaps, widest first."""
        return (
            (self.evidence.pointwise - self.elbo.pointwise).topk(min(count, len(self.elbo.pointwise))).indices.tolist()
        )

    def pointwise(self) -> dict[str, Tensor]:
        """All values a datum by name, for keeping."""
        found = {}
        for name, estimate in (self.rows() | self.optimisation).items():
            key = name.replace(" ", "_").lower()
            found[key] = estimate.pointwise
            if estimate.pointwise_se is not None:
                found[f"{key}_se"] = estimate.pointwise_se
        return found

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {name.replace(" ", "_").lower(): e.to_json() for name, e in self.rows().items()}
        return found | {
            "family": self.family,
            "optimisation": {name.replace(" ", "_"): e.to_json() for name, e in self.optimisation.items()},
            "data": len(self.elbo.pointwise),
            "worst": positions(self.worst(), self.sample),
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        table = Table(title=f"nats per datum over {len(self.elbo.pointwise)} data; family: {self.family}")
        for column in ("", "mean", "smallest", "median", "largest"):
            table.add_column(column, justify="right" if column else "left")
        for name, estimate in self.rows().items():
            values = estimate.pointwise
            figures = (values.min(), values.median(), values.max())
            table.add_row(name, estimate.figure, *(f"{figure.item():.3f}" for figure in figures))
        best = "the posterior" if self.best is self.evidence else self.best.method
        lines = [f"evidence: {self.evidence.method}, {self.evidence.bound}; best of family: {best}"]
        lines += [f"{name}: {estimate.figure}" for name, estimate in self.optimisation.items()]
        if any(row.se for row in self.rows().values()):
            lines.append("+- is the Monte Carlo standard error of the mean over these data")
        table.caption = "\n".join(lines)
        console = Console(width=90)
        with console.capture() as captured:
            console.print(table)
        return captured.get().rstrip() + "".join(f"\nnote: {line}" for line in self.warnings)

    def draw(self, figure: Any, title: str) -> None:
        """A waterfall from evidence to ELBO, and how the two gaps are spread over the data."""
        fall, spread = figure.subplots(1, 2, width_ratios=[3, 2])
        family, amortisation = self.family_gap.mean, self.amortisation_gap.mean
        evidence, elbo = self.evidence.mean, self.elbo.mean
        total = max(evidence - elbo, 1e-9)
        floor = elbo - 0.6 * total
        steps = (
            ("family\ngap", evidence - family, family, self.family_gap.figure, OKABE_ITO.blue),
            ("amortisation\ngap", elbo, amortisation, self.amortisation_gap.figure, OKABE_ITO.orange),
        )
        fall.bar("evidence", evidence - floor, bottom=floor, color="0.75")
        for name, bottom, height, words, colour in steps:
            fall.bar(name, height, bottom=bottom, color=colour)
            fall.annotate(words.replace(" +- ", "\n+- "), (name, bottom + height), ha="center", va="bottom")
        fall.bar("ELBO", elbo - floor, bottom=floor, color="0.75")
        fall.annotate(f"{self.evidence.sign}{evidence:.2f}", ("evidence", evidence), ha="center", va="bottom")
        fall.annotate(f"{self.elbo.sign}{elbo:.2f}", ("ELBO", elbo), ha="center", va="bottom")
        fall.set(ylim=(floor, evidence + 0.3 * total), ylabel="nats per datum", title="From evidence to ELBO (means)")
        for (name, *_, colour), estimate in zip(steps, (self.family_gap, self.amortisation_gap), strict=True):
            values = estimate.pointwise.clamp(min=1e-6).log10().cpu().numpy()
            spread.hist(values, bins=40, color=colour, alpha=0.6, label=name.replace("\n", " "))
        spread.set(xlabel="log10 of nats (below -6 drawn at -6)", ylabel="data", title="Spread over the data")
        bars_of_counts(spread)
        figure.suptitle(title)

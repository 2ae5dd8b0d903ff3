"""Results of measuring: numbers with their method, direction, error and pointwise values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ppl_vae.evidence.figures import OKABE_ITO, bars_of_counts, folded
from ppl_vae.evidence.psis import k_hat_limit

__all__ = ["Bound", "Estimate", "Evidence", "difference", "finite"]

Bound = Literal["exact", "unbiased", "approximate", "lower", "upper", "between"]
"""``"between"``: off in either direction, as what lies between two lower bounds is."""

_WEAKEST_FIRST: tuple[Bound, ...] = ("between", "approximate", "lower", "upper", "unbiased", "exact")

_FLIPPED: dict[Bound, Bound] = {"lower": "upper", "upper": "lower"}


def difference(one: Bound, other: Bound) -> Bound:
    """How a difference of two numbers stands to the true one."""
    bounds = {one, _FLIPPED.get(other, other)}
    return "between" if {"lower", "upper"} <= bounds else next(b for b in _WEAKEST_FIRST if b in bounds)


def finite(number: float) -> float | None:
    """A number as JSON can hold it: None for what is not finite."""
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class Estimate:
    """A number in nats per datum, with where it comes from.

    Arguments:
        pointwise: One value a datum, ``(data,)``, in nats.
        method: How it was computed, in words.
        bound: Whether each value is exact, or in expectation a lower or an upper bound, or unbiased, or only close, or
            the difference of two bounds that are off in the same direction.
        draws: Draws a datum; 0 for exact methods.
        pointwise_se: Monte Carlo standard error of each value, ``(data,)``; None is zero.
        k_hat: Pareto shape of the largest weights of each datum, ``(data,)``, where weights were used: minus infinity
            where they are constant over different draws, not a number where it cannot be known.
        notes: What else a reader must know before believing the number.
        common_se: Standard error of what is added to every value alike, which no mean over data makes smaller.
    """

    pointwise: Tensor
    method: str
    bound: Bound
    draws: int = 0
    pointwise_se: Tensor | None = None
    k_hat: Tensor | None = None
    notes: tuple[str, ...] = ()
    common_se: float = 0.0

    @property
    def mean(self) -> float:
        """Mean over the data."""
        return self.pointwise.mean().item()

    @property
    def se(self) -> float:
        """Monte Carlo standard error of the mean over these very data; zero for exact methods."""
        if self.pointwise_se is None:
            return self.common_se
        return math.hypot((self.pointwise_se.square().sum().sqrt() / len(self.pointwise)).item(), self.common_se)

    @property
    def data_se(self) -> float:
        """Standard error of the mean as a figure of the population the data were drawn from."""
        return (self.pointwise.std() / len(self.pointwise) ** 0.5).item() if len(self.pointwise) > 1 else math.nan

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before believing the number."""
        lines = list(self.notes)
        impossible = int((self.pointwise == -torch.inf).sum())
        if impossible:
            lines.append(f"{impossible} data have probability zero under the model: the mean is minus infinity")
        if self.k_hat is None:
            return tuple(lines)
        limit, count = k_hat_limit(self.draws), len(self.k_hat)
        unknown, high = int(self.k_hat.isnan().sum()), int((self.k_hat > limit).sum())
        if unknown:
            remedy = (
                "take 21 draws or more"
                if self.draws < 21
                else "the guide all but always draws the same; anneal, or enumerate"
            )
            lines.append(f"{unknown} of {count} data have too few different draws to judge their weights by: {remedy}")
        if high:
            lines.append(
                f"{high} of {count} data have a Pareto k-hat over {limit:.2f}: few draws carry the estimate, the "
                "evidence is probably higher and its error larger; raise the draws"
            )
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        """The number and its errors, without the pointwise values."""
        found: dict[str, Any] = {
            "mean": finite(self.mean),
            "se": finite(self.se),
            "data_se": finite(self.data_se),
            "method": self.method,
            "bound": self.bound,
            "draws": self.draws,
            "warnings": list(self.warnings),
        }
        if self.k_hat is not None:
            known = self.k_hat[~self.k_hat.isnan()]
            found["k_hat_worst"] = finite(known.max().item()) if len(known) else None
        return found

    @property
    def sign(self) -> str:
        """The direction of its mean, as it stands before it."""
        return {"lower": ">= ", "upper": "<= ", "approximate": "~ ", "between": "~ "}.get(self.bound, "")

    @property
    def figure(self) -> str:
        """The mean as a table shows it, with its direction and error."""
        error = f" +- {self.se:.2g}" if self.se else ""
        return f"{self.sign}{round(self.mean, 3) + 0.0:.3f}{error}"  # + 0.0: never -0.000

    def __str__(self) -> str:
        return f"{self.figure} ({self.method})"

    def minus(self, other: Estimate) -> Estimate:
        """The difference from an estimate of other draws: its direction follows from both, its error adds up.

        Example:
            >>> evidence = Estimate(torch.tensor([-3.0]), "16 chains", "lower")
            >>> best = Estimate(torch.tensor([-3.5]), "ascent", "lower")
            >>> print(evidence.minus(best).bound, replace(evidence, bound="exact").minus(best).bound)
            between upper
        """
        if other is self:
            return Estimate(torch.zeros_like(self.pointwise), self.method, "exact")
        bound = difference(self.bound, other.bound)
        errors = [e.pointwise_se for e in (self, other) if e.pointwise_se is not None]
        se = torch.stack([error.square() for error in errors]).sum(0).sqrt() if errors else None
        words = f"{self.method}; less {other.method}"
        # Equal ones are one model's, and cancel.
        common = 0.0 if self.common_se == other.common_se else math.hypot(self.common_se, other.common_se)
        draws = max(self.draws, other.draws)
        return Estimate(self.pointwise - other.pointwise, words, bound, draws, se, common_se=common)

    @classmethod
    def join(cls, parts: list[Estimate]) -> Estimate:
        """The estimate of all data from those of consecutive blocks."""

        def together(name: str) -> Tensor | None:
            values = [getattr(part, name) for part in parts]
            if all(value is None for value in values):
                return None
            return torch.cat(
                [torch.zeros_like(p.pointwise) if v is None else v for p, v in zip(parts, values, strict=True)]
            )

        pointwise = torch.cat([part.pointwise for part in parts])
        method = " or ".join(dict.fromkeys(part.method for part in parts))
        bounds = {part.bound for part in parts}
        bound = next(bound for bound in _WEAKEST_FIRST if bound in bounds)
        notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
        common = max(part.common_se for part in parts)
        return cls(pointwise, method, bound, parts[0].draws, together("pointwise_se"), together("k_hat"), notes, common)


@dataclass(frozen=True)
class Evidence:
    """Bound, evidence and gap of one set of data.

    Arguments:
        elbo: The evidence lower bound of each datum.
        evidence: log p(x) of each datum.
        gap: Evidence minus bound.
        why: Why the evidence was measured this way.
    """

    elbo: Estimate
    evidence: Estimate
    gap: Estimate
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {name: getattr(self, name).to_json() for name in ("elbo", "evidence", "gap")}
        return found | {"why": self.why}

    def __str__(self) -> str:
        names = {"elbo": "ELBO", "evidence": "evidence", "gap": "gap"}
        table = Table(title=f"nats per datum over {len(self.elbo.pointwise)} data, higher is better")
        for column in ("", "mean", "smallest", "median", "largest", "how"):
            table.add_column(column, justify="left" if column in ("", "how") else "right")
        for name, words in names.items():
            estimate: Estimate = getattr(self, name)
            v = estimate.pointwise
            figures = [f"{figure.item():.3f}" for figure in (v.min(), v.median(), v.max())]
            table.add_row(words, estimate.figure, *figures, f"{estimate.method}: {estimate.bound}")
        table.caption = self.why
        console = Console(width=110)
        with console.capture() as captured:
            console.print(table)
        return captured.get().rstrip() + "".join(f"\nnote: {line}" for line in self.evidence.warnings)

    def worst(self, count: int = 5) -> list[int]:
        """Positions of the data with the widest gaps, widest first."""
        return self.gap.pointwise.topk(min(count, len(self.gap.pointwise))).indices.tolist()

    def draw(self, figure: Any, title: str) -> None:
        """The means from evidence to ELBO with their errors, and how the gap is spread over the data."""
        fall, spread = figure.subplots(1, 2, width_ratios=[2, 3])
        evidence, elbo, gap = self.evidence.mean, self.elbo.mean, max(self.gap.mean, 1e-9)
        floor = elbo - 0.6 * gap
        marks = {"exact": "", "lower": "at least\n", "upper": "at most\n"}
        bars = (
            ("evidence", evidence, floor, self.evidence, "0.75"),
            ("gap", evidence, elbo, self.gap, OKABE_ITO.orange),
            ("ELBO", elbo, floor, self.elbo, "0.75"),
        )
        for name, top, bottom, estimate, colour in bars:
            fall.bar(name, top - bottom, bottom=bottom, color=colour, yerr=estimate.se or None, capsize=3)
            words = marks.get(estimate.bound, "about\n") + f"{estimate.mean:.2f}"
            fall.annotate(words, (name, top + estimate.se), ha="center", va="bottom")
        highest = max(top + estimate.se for _, top, _, estimate, _ in bars)
        fall.set(ylim=(floor, highest + 0.25 * (highest - floor)), ylabel="nats per datum")
        fall.ticklabel_format(axis="y", useOffset=False)  # it would stand where the title does
        fall.set_title(folded(self.evidence.method, 3.0))
        values = self.gap.pointwise.cpu().numpy()
        spread.hist(values, bins=40, color=OKABE_ITO.orange)
        spread.axvline(gap, color=OKABE_ITO.vermilion, label=f"mean {self.gap.mean:.2f}")
        spread.set(xlabel="evidence minus ELBO (nats)", ylabel="data", title="Spread of the gap over the data")
        bars_of_counts(spread)
        figure.suptitle(title)

    @property
    def constant(self) -> bool:
        """Whether all log-weights of every datum were the same over different draws."""
        shape = self.evidence.k_hat
        return shape is not None and bool(shape.isneginf().all())

    def settled(self, everywhere: bool) -> Evidence:
        """What constant weights are worth: exact if they are the same everywhere, else a bound like any other."""
        if everywhere:
            words = "constant importance weights: the guide is the posterior"
            exact = Estimate(self.elbo.pointwise, words, "exact")
            return Evidence(exact, exact, Estimate(torch.zeros_like(exact.pointwise), words, "exact"), self.why)
        note = (
            "the log-weights are constant where the guide draws, but not elsewhere: the guide leaves out a part of the "
            "posterior, and the evidence is higher than this"
        )
        return replace(self, evidence=replace(self.evidence, notes=(*self.evidence.notes, note)))

    def normalised(self, error: float) -> Evidence:
        """The same of a model whose log-normaliser has this standard error: bound and evidence have it together."""
        if not error:
            return self
        note = (
            f"the normaliser of p(z) is an estimate, known to +- {error:.2g} nats: bound and evidence of all data are "
            "off by it together, the gap is not"
        )

        def off(estimate: Estimate) -> Estimate:
            return replace(estimate, bound="approximate", common_se=error, notes=(*estimate.notes, note))

        return replace(self, elbo=off(self.elbo), evidence=off(self.evidence))

    def pointwise(self) -> dict[str, Tensor]:
        """All values a datum by name, for keeping."""
        found = {}
        for name in ("elbo", "evidence", "gap"):
            estimate: Estimate = getattr(self, name)
            found[name] = estimate.pointwise
            if estimate.pointwise_se is not None:
                found[f"{name}_se"] = estimate.pointwise_se
            if estimate.k_hat is not None:
                found["k_hat"] = estimate.k_hat
        return found

    @classmethod
    def join(cls, parts: list[Evidence]) -> Evidence:
        """The measurement of all data from those of consecutive blocks."""
        elbo, evidence, gap = (
            Estimate.join([getattr(part, name) for part in parts]) for name in ("elbo", "evidence", "gap")
        )
        return cls(elbo, evidence, gap, parts[0].why)

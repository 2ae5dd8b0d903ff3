"""A number with its method, direction, error and pointwise values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ppl_vae.evidence.bounds import IN_WORDS, SIGNS, WEAKEST_FIRST, Bound, difference, finite
from ppl_vae.evidence.psis import k_hat_limit
from ppl_vae.evidence.shortfall import Shortfall

__all__ = ["Bound", "Estimate", "difference", "finite", "weakest"]


def weakest(parts: Iterable[Estimate]) -> Bound:
    """The direction in which a mean of estimates is off: that of the one of which least is known."""
    bounds = {part.bound for part in parts}
    return next(bound for bound in WEAKEST_FIRST if bound in bounds)


@dataclass(frozen=True)
class Estimate:
    """A number in nats per datum, with its method, direction and error.

    Arguments:
        pointwise: One value per datum, ``(data,)``, in nats.
        method: How it is computed.
        bound: Whether each value is exact, or in expectation a lower or an upper bound, or unbiased, or only close, or
            the difference of two bounds that are off in the same direction.
        draws: Number of draws per datum; 0 for exact methods.
        pointwise_se: Monte Carlo standard error of each value, ``(data,)``; None is zero.
        k_hat: Pareto shape of the largest weights of each datum, ``(data,)``, where weights are used: minus infinity
            where they are constant over different draws, not a number where it is unknown.
        notes: Further reasons for caution.
        lost: Number of samples, of all data together, whose density is undefined and whose weight counts as zero.
        common_se: Standard error of a constant common to all values, which no mean over data reduces.
        tolerated: Share of data whose k-hat may be over its limit without a warning: simulated data with as many lose
            next to nothing by it.
        uncovered: Number of data whose evidence is mostly that of samples the guide all but never draws.
        selection: Where it is the best of several bounds, chosen by their means: the logarithm of their number, in
            nats, summed over separate choices.
        upper: An upper bound in expectation from the same draws
            (:func:`~ppl_vae.evidence.leave_one_out.leave_one_out`); None where there is none.
        shortfall: What the method misses of the evidence of simulated data; None where that is not measured.
        lower: A lower bound in expectation from the same draws, where the number itself is none.
        raised: Nats by which PyTorch's rounding of probabilities of observed values raises each value, ``(data,)``,
            until a note says so; None is zero.
    """

    pointwise: Tensor
    method: str
    bound: Bound
    draws: int = 0
    pointwise_se: Tensor | None = None
    k_hat: Tensor | None = None
    notes: tuple[str, ...] = ()
    common_se: float = 0.0
    lost: int = 0
    uncovered: int = 0
    tolerated: float = 0.0
    selection: float = 0.0
    upper: Estimate | None = None
    shortfall: Shortfall | None = None
    lower: Estimate | None = None
    raised: Tensor | None = None

    @property
    def mean(self) -> float:
        """Mean over the data."""
        return self.pointwise.mean().item()

    @property
    def se(self) -> float:
        """Monte Carlo standard error of the mean over these data; zero for exact methods."""
        if self.pointwise_se is None:
            return self.common_se
        return math.hypot((self.pointwise_se.square().sum().sqrt() / len(self.pointwise)).item(), self.common_se)

    @property
    def data_se(self) -> float:
        """Standard error of the mean as an estimate for the population of the data."""
        return (self.pointwise.std() / len(self.pointwise) ** 0.5).item() if len(self.pointwise) > 1 else math.nan

    def at_least(self, level: float = 0.95) -> float | None:
        r"""A number that the mean of the evidence of these data exceeds with probability ``level``, in nats per datum.

        The mean weight :math:`\hat p_i` of each datum is an unbiased estimate of :math:`p(x_i)`, independent of the
        others, so that :math:`\mathbb{E} \prod_i \hat p_i / p(x_i) = 1` and by Markov's inequality

        .. math:: \frac1n \sum_i \log p(x_i) \ge \frac1n \sum_i \log \hat p_i - \frac1n \log \frac1{1 - \text{level}}

        whatever the distribution of the weights. Of the best of K such means the product has at most the mean K, and
        log K is added to the last term (``selection``). The value itself if it is exact; None where no such number is
        known.

        Example:
            >>> Estimate(torch.full((100,), -3.0), "importance", "lower", 1000).at_least()
            -3.029957...
        """
        if self.bound not in ("exact", "lower") or self.common_se:
            return None
        if self.bound == "exact":
            return self.mean
        return self.mean - (math.log(1 / (1 - level)) + self.selection) / len(self.pointwise)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons not to take the number at face value."""
        lines = list(self.notes)
        impossible = int((self.pointwise == -torch.inf).sum())
        if impossible:
            lines.append(
                f"{impossible} data have probability zero under the model, or at latents that the guide "
                "draws: the mean is minus infinity"
            )
        undefined = int(self.pointwise.isnan().sum())
        if undefined:
            lines.append(
                f"{undefined} of {len(self.pointwise)} data have no value (NaN), and so has the mean: the density is "
                "undefined at some latents, as where a rate overflows; bound the parameters of the model, or anneal"
            )
        if self.lost:
            lines.append(
                f"{self.lost} of {self.draws * len(self.pointwise)} samples have no density (NaN), as where a rate "
                "overflows, and count as impossible; bound the parameters of the model"
            )
        # As many as among simulated data, which lose next to nothing by it, are no reason for caution.
        usual = self.shortfall if self.tolerated else None
        if self.uncovered > (usual.share_uncovered if usual else 0) * len(self.pointwise):
            lines.append(
                f"{self.uncovered} of {len(self.pointwise)} data owe over half of their evidence to a few samples of "
                "the prior: the guide leaves out a part of their posterior, and the evidence is probably higher; "
                "anneal from the prior (--method annealing --start prior, method='annealing', start='prior'; of a gap "
                "--evidence annealing)"
            )
        if self.k_hat is None:
            return tuple(lines)
        limit, count = k_hat_limit(self.draws), len(self.k_hat)
        unknown, high = int(self.k_hat.isnan().sum()), int((self.k_hat > limit).sum())
        if unknown > (usual.share_unknown if usual else 0) * count:
            remedy = (
                "take 21 draws or more"
                if self.draws < 21
                else "the guide all but always draws the same; take a wider guide, or another method that applies"
            )
            lines.append(f"{unknown} of {count} data have too few different draws to judge their weights by: {remedy}")
        if high > self.tolerated * count:
            lines.append(
                f"{high} of {count} data have a Pareto k-hat over {limit:.2f}: few draws carry the estimate, the "
                "evidence is probably higher and its error larger; raise the draws (--draws, draws=; of a training "
                "or a gap --evidence-draws, evidence_draws=)"
            )
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        """The number and its errors, without the pointwise values."""
        content: dict[str, Any] = {
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
            content["k_hat_worst"] = finite(known.max().item()) if len(known) else None
        if self.tolerated:
            content["k_hat_tolerated_share"] = self.tolerated
        if self.selection:
            content["selection"] = self.selection
        if self.common_se:
            content["common_se"] = self.common_se
        for name, beside in (("upper_bound", self.upper), ("lower_bound", self.lower)):
            if beside is not None:
                content[name] = beside.to_json()
        if self.shortfall is not None:
            content["simulated_data"] = self.shortfall.to_json()
        return content

    @classmethod
    def stored(cls, content: Mapping[str, Any], values: Mapping[str, Tensor], name: str) -> Estimate:
        """The estimate whose JSON and pointwise values were stored by name.

        Arguments:
            content: What :meth:`to_json` returned.
            values: Pointwise values, errors and Pareto shapes, as :meth:`ppl_vae.evidence.results.Result.pointwise`
                names them.
            name: The name among the values.
        """
        errors, shapes = values.get(f"{name}_se"), values.get(f"{name}_k_hat")
        estimate = cls(values[name], content["method"], content["bound"], content["draws"], errors, shapes)
        upper, lower, shortfall = (content.get(key) for key in ("upper_bound", "lower_bound", "simulated_data"))
        estimate = replace(
            estimate,
            common_se=content.get("common_se", 0.0),
            tolerated=content.get("k_hat_tolerated_share", 0.0),
            selection=content.get("selection", 0.0),
            upper=upper and cls.stored(upper, values, f"{name}_upper"),
            shortfall=shortfall and Shortfall.stored(shortfall),
            lower=lower and cls.stored(lower, values, f"{name}_lower"),
        )
        notes = tuple(line for line in content["warnings"] if line not in estimate.warnings)
        return replace(estimate, notes=notes)

    @property
    def sign(self) -> str:
        """The sign of its direction, written before the mean."""
        return SIGNS[self.bound]

    @property
    def figure(self) -> str:
        """The mean with its direction and error, as in a table."""
        error = f" +- {self.se:.2g}" if self.se else ""
        return f"{self.sign}{round(self.mean, 3) + 0.0:.3f}{error}"  # + 0.0: never -0.000

    @property
    def how(self) -> str:
        """Its method and direction in words."""
        return f"{self.method}: {IN_WORDS[self.bound]}"

    def __str__(self) -> str:
        return f"{self.figure} ({self.method})"

    def __repr__(self) -> str:
        return f"Estimate({self.figure} nats, {self.how}; {len(self.pointwise)} data)"

    def minus(self, other: Estimate) -> Estimate:
        """The difference from an estimate with independent draws: direction and error follow from both.

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
        method = f"{self.method} minus {other.method}"
        # Equal ones are one model's, and cancel.
        common = 0.0 if self.common_se == other.common_se else math.hypot(self.common_se, other.common_se)
        draws = max(self.draws, other.draws)
        return Estimate(self.pointwise - other.pointwise, method, bound, draws, se, common_se=common)

    def normalised(self, error: float) -> Estimate:
        """The same for a model whose log-normaliser is an estimate with this standard error, unless it is known."""
        if not error or self.common_se:
            return self
        note = (
            f"the normaliser of p(z) is an estimate, with standard error {error:.2g} nats: bound and evidence of all "
            "data are off by it together, the gap is not"
        )
        return replace(self, bound="approximate", common_se=error, notes=(*self.notes, note))

    @classmethod
    def join(cls, parts: list[Estimate]) -> Estimate:
        """The estimate of all data from those of consecutive blocks."""

        def together(name: str) -> Tensor | None:
            values = [getattr(part, name) for part in parts]
            if all(value is None for value in values):
                return None
            filled = [torch.zeros_like(p.pointwise) if v is None else v for p, v in zip(parts, values, strict=True)]
            return torch.cat(filled)

        pointwise = torch.cat([part.pointwise for part in parts])
        method = " or ".join(dict.fromkeys(part.method for part in parts))
        notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
        errors, shapes = together("pointwise_se"), together("k_hat")
        common, lost = max(part.common_se for part in parts), sum(part.lost for part in parts)
        uncovered, selection = sum(part.uncovered for part in parts), sum(part.selection for part in parts)
        bound, draws = weakest(parts), parts[0].draws
        joined = cls(pointwise, method, bound, draws, errors, shapes, notes, common, lost, uncovered)
        upper, lower = (cls._join_beside(parts, side) for side in ("upper", "lower"))
        joined = replace(joined, selection=selection, upper=upper, lower=lower, raised=together("raised"))
        # What a method misses of simulated data holds for all blocks measured by it.
        checked = next((part for part in parts if part.shortfall), None)
        if checked is None or len({part.method for part in parts}) > 1:
            return joined
        return replace(joined, shortfall=checked.shortfall, tolerated=checked.tolerated)

    @classmethod
    def _join_beside(cls, parts: list[Estimate], side: str) -> Estimate | None:
        """The bound beside the number of all data; that of an exact part is itself."""
        found: list[Estimate] = [bound for part in parts if (bound := getattr(part, side))]
        bounds: list[Estimate] = [getattr(part, side) or part for part in parts]
        if not found or weakest(bounds) != side:
            return None
        return replace(cls.join(bounds), method=found[0].method, draws=min(bound.draws for bound in found))

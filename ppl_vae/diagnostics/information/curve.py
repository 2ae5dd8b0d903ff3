"""The rate-distortion curve of a decoder, and the point of a guide above it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.figures import OKABE_ITO, apart
from ppl_vae.evidence.results import Result
from ppl_vae.evidence.tables import text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Curve"]


@dataclass(frozen=True)
class Curve(Result):
    r"""Points of the curve :math:`R(D)` of a fixed prior and decoder, averaged over data, and the guide's own point.

    Arguments:
        betas: Weights of the rate.
        rate: Rate of the best encoder at each beta.
        distortion: Distortion of the best encoder at each beta.
        cost: Smallest D + beta R of any encoder at each beta.
        guide_rate: Rate of the guide.
        guide_distortion: Distortion of the guide.
        guide_elbo: ELBO of the guide, minus the sum of both.
    """

    betas: tuple[float, ...]
    rate: tuple[Estimate, ...]
    distortion: tuple[Estimate, ...]
    cost: tuple[Estimate, ...]
    guide_rate: Estimate
    guide_distortion: Estimate
    guide_elbo: Estimate

    panels: ClassVar[tuple[float, ...]] = (1, 1)

    def excess(self) -> list[Estimate]:
        """Returns D + beta R of the guide minus the smallest possible, at each beta."""
        rate, distortion = self.guide_rate, self.guide_distortion
        errors = [e.pointwise_se for e in (rate, distortion, self.guide_elbo)]
        r, d, both = (torch.zeros_like(rate.pointwise) if e is None else e.square() for e in errors)
        excess = []
        for beta, cost in zip(self.betas, self.cost, strict=True):
            # D and R of the guide come from the same draws: the variance of their sum gives their covariance.
            variance = d + beta**2 * r + beta * (both - d - r)
            guide_cost = replace(
                distortion,
                pointwise=distortion.pointwise + beta * rate.pointwise,
                pointwise_se=None if distortion.bound == "exact" else variance.clamp(min=0).sqrt(),
            )
            excess.append(guide_cost.minus(cost))
        return excess

    def columns(self) -> dict[str, Sequence[Estimate]]:
        """Returns the estimates at each beta by name."""
        return {"rate": self.rate, "distortion": self.distortion, "cost": self.cost, "excess": self.excess()}

    def rows(self) -> dict[str, Estimate]:
        points = {
            f"beta {beta:g}: {name}": estimates[i]
            for name, estimates in self.columns().items()
            for i, beta in enumerate(self.betas)
        }
        return {"guide: rate": self.guide_rate, "guide: distortion": self.guide_distortion, **points}

    def remarks(self) -> Iterator[str]:
        yield from self.guide_elbo.warnings

    def facts(self) -> dict[str, Any]:
        return {"betas": list(self.betas)}

    def caption(self) -> str:
        parts = [f"curve: {self.cost[0].method}; guide: {self.guide_distortion.method}", self.signs_in_words()]
        if any(cost.bound == "upper" for cost in self.cost):
            parts.append("how far below the bound the smallest D + beta R lies is not known")
        return "; ".join(filter(None, parts))

    def table(self) -> str:
        points = zip(*self.columns().values(), strict=True)
        rows = [
            (f"{beta:g}", *(self.figure(value) for value in values))
            for beta, values in zip(self.betas, points, strict=True)
        ]
        rows.append(("guide", self.figure(self.guide_rate), self.figure(self.guide_distortion), "", ""))
        return text_table(
            f"rate-distortion curve of the decoder: nats per datum over {self.data} data",
            ("beta", "rate R", "distortion D", "smallest D + beta R", "excess of the guide"),
            rows,
            caption=self.described(),
        )

    def draw_panels(self, *axes: Axes) -> None:
        """The curve and the guide's point on the plane, and the excess of the guide at every weight."""
        plane, loss = axes
        rates, distortions = ([e.mean for e in values] for values in (self.rate, self.distortion))
        plane.plot(rates, distortions, "o-", color=OKABE_ITO.blue, label="best encoder, this prior and decoder")
        plane.plot(self.guide_rate.mean, self.guide_distortion.mean, "D", color=OKABE_ITO.vermilion, label="the guide")
        plane.margins(0.1)  # room for the outermost labels
        points = list(zip(rates, distortions, strict=True))
        for i in apart(plane, points):
            plane.annotate(f"{self.betas[i]:g}", points[i], textcoords="offset points", xytext=(4, 4), fontsize=7)
        plane.set(xlabel="rate R (nats)", ylabel="distortion D (nats)")
        plane.legend(frameon=False, fontsize=8)
        excess = self.excess()
        means, errors = [e.mean for e in excess], [2 * e.se for e in excess]
        loss.errorbar(self.betas, means, errors, fmt="o-", color=OKABE_ITO.vermilion, capsize=2)
        loss.axvline(1, color="0.8", zorder=0)
        loss.set(xscale="log", ylim=(min(0.0, *means), None))
        shown = [self.betas[i] for i in apart(loss, [(beta, 0.0) for beta in self.betas])]
        loss.set_xticks(shown, [f"{beta:g}" for beta in shown], fontsize=7)
        loss.minorticks_off()
        loss.set(xlabel=r"weight $\beta$ of the rate", ylabel=r"excess of the guide's D + $\beta$ R (nats)")

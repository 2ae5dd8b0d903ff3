"""One model under its guide as trained and under others that are to mend its gap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.ladder import Ladder, Rung
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.figures import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["AS_TRAINED", "Remedies"]

AS_TRAINED = "as trained"
"""Name of the guide that the others are compared with."""


@dataclass(frozen=True, repr=False)
class Remedies(Ladder):
    """ELBO and gap of one model under several guides, and what each gains over the first.

    Arguments:
        evidence: log p(x), the same for all guides, since the model is.
        rungs: The guides by name, that of the run first.
        fits: Remarks on how the guides were fitted.
        seconds: What each fit cost, in seconds.
        split: Name of the data.
        overall: The ELBO of guides minus that of the first over all data of the split, from draws; single data may
            gain or lose tens of nats, so that a sample of them decides little.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    split: str = ""
    overall: dict[str, Estimate] = field(default_factory=dict)

    @classmethod
    def of(cls, gaps: dict[str, Gap], **others: Any) -> Remedies:  # the other fields
        """From the gaps of the guides, on the same data; evidence that is not exact is that of the first."""
        rungs = {name: Rung(gap.elbo, gap.best, gap.family) for name, gap in gaps.items()}
        return cls(next(iter(gaps.values())).evidence, rungs, **others)

    def gains(self) -> dict[str, Estimate]:
        """The ELBO of each guide minus that of the first, paired by datum, by name."""
        (_, first), *others = self.rungs.items()
        return {name: rung.elbo.minus(first.elbo) for name, rung in others}

    def chosen(self) -> str:
        """The guide that gains most over all data; that of the run unless one gains more than twice its error."""
        gains = {name: gain for name, gain in self.overall.items() if gain.mean > 2 * gain.data_se}
        return max(gains, key=lambda name: gains[name].mean, default=next(iter(self.rungs)))

    def steps(self) -> dict[str, Estimate]:
        return self.gains()

    def rows(self) -> dict[str, Estimate]:
        return {name.replace(": step", ": gain"): each for name, each in super().rows().items()}

    def remarks(self) -> Iterator[str]:
        yield from self.fits

    def losses(self) -> Tensor:
        return self.evidence.minus(self.rungs[self.chosen()].elbo).pointwise

    def facts(self) -> dict[str, Any]:
        overall = {n: {"mean": g.mean, "data_se": g.data_se, "data": len(g.pointwise)} for n, g in self.overall.items()}
        return super().facts() | {"seconds": self.seconds, "gain_over_all": overall}

    def _grid(self) -> tuple[str, tuple[str, ...], list[tuple[str, ...]], str]:
        gains, lines = self.gains(), list[tuple[str, ...]]()
        for name, rung in self.rungs.items():
            network, family = self.gaps(name) or (None, None)
            gain, overall = (_signed(each[name]) if name in each else "" for each in (gains, self.overall))
            parts = ["not known" if part is None else self.figure(part) for part in (network, family)]
            cost = f"{self.seconds[name]:.0f}" if name in self.seconds else ""
            lines.append((name, self.figure(rung.elbo), gain, overall, *parts, cost))
        paired = "gain: over the guide as trained, paired by datum, +- its standard error over the data, draws included"
        if self.overall:
            paired += f"; of all: over all {len(next(iter(self.overall.values())).pointwise):,} {self.split} data"
        evidence = f"evidence of all: {self.figure(self.evidence)}, {self.evidence.how}"
        caption = "; ".join(filter(None, (evidence, self.signs_in_words(), paired)))
        if self.has_draws or self.split_size:
            caption += f"; elsewhere {self.errors_in_words()}"
        title = f"nats per datum over {self.data} {self.split} data, the model fixed".replace("  ", " ")
        columns = ("guide", "ELBO", "gain", "gain of all", "network gap", "family gap", "seconds")
        return title, columns, lines, caption

    def draw_panels(self, *axes: Axes) -> None:
        """Draws the parts of the gap of each guide."""
        (bars,) = axes
        for place, name in enumerate(self.rungs):
            network, family = (part.mean if part is not None else 0.0 for part in self.gaps(name) or (None, None))
            total = self.evidence.mean - self.rungs[name].elbo.mean
            known = self.gaps(name) is not None
            bars.barh(place, family, color=OKABE_ITO.orange, label="family" if not place else None)
            label = None if place else "network" if known else "network and family"
            bars.barh(place, network if known else total, left=family, color=OKABE_ITO.blue, label=label)
            bars.annotate(f" {total:.3f}", (total, place), va="center")
        bars.set_yticks(range(len(self.rungs)), [*self.rungs])
        bars.invert_yaxis()
        bars.set(xlabel=f"evidence minus ELBO (nats per datum), {self.split} data")
        bars.margins(x=0.15)
        bars.legend(frameon=False)


def _signed(gain: Estimate) -> str:
    return f"{gain.mean:+.3f} +- {gain.data_se:.2g}"

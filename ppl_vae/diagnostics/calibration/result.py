"""What the places of true latents among a guide's samples say of the guide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ppl_vae.diagnostics.calibration.ranks import Kind
from ppl_vae.diagnostics.calibration.uniformity import POINTS, Uniformity, uniformity
from ppl_vae.diagnostics.holm import holm
from ppl_vae.evidence.estimate import Estimate, finite
from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.evidence.results import Result
from ppl_vae.evidence.tables import in_short, text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LEVEL", "Calibration", "Misfit", "Tested", "tests_of"]

LEVEL = 0.05
"""Probability with which a calibrated guide is called miscalibrated in anything."""

Misfit = Literal["too narrow", "too wide", "shifted", "of another shape"]

COLOURS: dict[str, str] = {
    "too narrow": OKABE_ITO.vermilion,
    "too wide": OKABE_ITO.blue,
    "shifted": OKABE_ITO.orange,
    "of another shape": OKABE_ITO.purple,
}

NOTHING = "not found to be off"

CLEAR = 3.0
"""Standard errors from which a shift or a width explains why places are not uniform."""


@dataclass(frozen=True)
class Tested:
    r"""The places of one quantity, and whether they are uniform.

    The normal scores :math:`y = \Phi^{-1}(u)` of a normal posterior under a normal guide are normal: their mean is the
    distance of the posterior's mean from the guide's in deviations of the guide, and their deviation the ratio of the
    two deviations. Other quantities are described by the same two numbers.

    Arguments:
        name: Name of the quantity.
        site: The site it belongs to; itself where it belongs to none.
        kind: How its places were computed.
        values: Its places, ``(data,)``.
        p: p-value of their being uniform, corrected for the number of all quantities.
    """

    name: str
    site: str
    kind: Kind
    values: Tensor
    p: float

    @property
    def scores(self) -> Tensor:
        """Normal scores, ``(data,)``."""
        scores: Tensor = torch.special.ndtri(self.values.double().clamp(1e-9, 1 - 1e-9))
        return scores

    @property
    def shift(self) -> float:
        """How far the posterior lies above the guide, in deviations of the guide."""
        return self.scores.mean().item()

    @property
    def width(self) -> float:
        """How many times as wide as the guide the posterior is."""
        return self.scores.std(correction=0).item()

    @property
    def finding(self) -> Misfit | None:
        """What is wrong with the guide; None if nothing was found."""
        if self.p > LEVEL:
            return None
        count = len(self.values)
        shift, width = self.shift * count**0.5, (self.width**2 - 1) * (count / 2) ** 0.5
        if max(abs(shift), abs(width)) < CLEAR:
            return "of another shape"
        if abs(shift) > abs(width):
            return "shifted"
        return "too narrow" if width > 0 else "too wide"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "site": self.site,
            "kind": self.kind,
            "p_corrected": finite(self.p),
            "finding": self.finding,
            "shift": finite(self.shift),
            "width": finite(self.width),
        }


def tests_of(quantities: Sequence[tuple[str, str, Kind, Tensor]]) -> tuple[Tested, ...]:
    """Tests of quantities, given by name, site, kind and places ``(data,)``; p-values corrected by Holm's procedure."""
    test = uniformity(len(quantities[0][3]))
    corrected = holm([test.p_value(values.double().cpu().numpy()) for *_, values in quantities])
    return tuple(Tested(*each, p) for each, p in zip(quantities, corrected, strict=True))


@dataclass(frozen=True)
class Calibration(Result):
    """Whether a guide is found to be miscalibrated; see
    :func:`ppl_vae.diagnostics.calibration.calibrate.calibrate`.

    Arguments:
        tested: All quantities.
        draws: Samples of the guide per datum.
        units: Number of units of each site.
    """

    tested: tuple[Tested, ...]
    draws: int
    units: dict[str, int]

    panels: ClassVar[tuple[float, ...]] = (3, 2)

    @property
    def data(self) -> int:
        return len(self.tested[0].values)

    def rows(self) -> dict[str, Estimate]:
        return {}

    @property
    def found(self) -> tuple[Tested, ...]:
        """The quantities that are not uniform, the clearest first."""
        return tuple(sorted((each for each in self.tested if each.finding), key=lambda each: each.p))

    @property
    def status(self) -> Literal["miscalibrated", "not found to be miscalibrated"]:
        """The verdict in short; calibration itself cannot be shown."""
        return "miscalibrated" if self.found else "not found to be miscalibrated"

    @property
    def verdict(self) -> str:
        """The verdict as a sentence."""
        if not self.found:
            lowest, highest = self._band()
            missed = max(float((POINTS - lowest).max()), float((highest - POINTS).max()))
            return (
                f"not found to be miscalibrated with {self.data} simulated data (a distribution function off by up to "
                f"{missed:.2f} may go unnoticed; more data, --simulated or simulated=, show smaller faults)"
            )
        parts = []
        found = dict.fromkeys(each.site for each in self.found)
        for site in [name for name in found if name in self.units] or found:
            worst = self._of(site)
            words = Counter(each.finding for each in worst.values() if each.finding)
            count = self.units.get(site, 1)
            among = [
                f"{word}{f' in {number} of {count} units' if count > 1 else ''}" for word, number in words.most_common()
            ]
            parts.append(f"{site} is {', '.join(among)}")
        return f"the guide is miscalibrated: {'; '.join(parts)}"

    def _of(self, site: str) -> dict[str, Tested]:
        """The clearest test of each unit of a site, or of a quantity by itself."""
        clearest: dict[str, Tested] = {}
        for each in sorted((t for t in self.tested if t.site == site), key=lambda each: -each.p):
            clearest[each.name] = each
        return clearest

    def _band(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        return uniformity(self.data).band(LEVEL / len(self.tested))

    def remarks(self) -> Iterator[str]:
        if self.data < 100:
            yield f"{self.data} simulated data show gross faults alone; simulate 1000"
        if self.found and all(each.kind == "density" for each in self.found):
            yield (
                "only the densities give the guide away: it is right on average over the data, but does not use them "
                "as the posterior does"
            )

    def pointwise(self) -> dict[str, Tensor]:
        """The places of each quantity, ``(data,)``."""
        return {f"{each.kind.replace(' ', '_')}.{each.name}": each.values for each in self.tested}

    def facts(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "verdict": self.verdict,
            "draws": self.draws,
            "level": LEVEL,
            "tests": [each.to_json() for each in self.tested],
        }

    def table(self) -> str:
        rows = []
        for site in dict.fromkeys(each.site for each in self.tested):
            clearest = list(self._of(site).values())
            shares = [f"{sum(each.finding == word for each in clearest) / len(clearest):.0%}" for word in COLOURS]
            worst = min(clearest, key=lambda each: each.p)
            numbers = (f"{worst.shift:+.2f}", f"{worst.width:.2f}", _p_value(worst.p))
            rows.append((site, str(len(clearest)), *shares, *numbers))
        columns = ("", "quantities", "too narrow", "too wide", "shifted", "other shape", "shift", "width", "p")
        table = text_table(
            f"places of true latents among {self.draws} samples of the guide: {self.data} simulated data",
            columns,
            rows,
            caption=(
                "shift (in deviations of the guide), width (of the posterior over the guide's; 0 and 1 if calibrated) "
                "and p-value, corrected for all tests, are those of the clearest quantity of a row"
            ),
        )
        if not self.found:
            return f"{table}\n{self.verdict}"
        remedy = "ppl-vae gap RUN (pv.split_gap) says whether its family or its network is at fault"
        return f"{table}\n{self.verdict}, as {self.data} simulated data show; {remedy}"

    def _drawn(self) -> Iterator[tuple[Tested, str]]:
        """The quantities, the clearest last, each with what its unit is found to be."""
        clearest = {
            name: each for site in dict.fromkeys(t.site for t in self.tested) for name, each in self._of(site).items()
        }
        for each in sorted(self.tested, key=lambda each: -each.p):
            yield each, (clearest[each.name].finding if each.finding else None) or NOTHING

    def draw_panels(self, *axes: Axes) -> None:
        """Distribution functions minus the diagonal, and coverage against credibility, with bands for all together."""
        differences, coverage = axes
        lowest, highest = self._band()
        band = f"where all stay in {1 - LEVEL:.0%} of cases, if calibrated"
        differences.fill_between(POINTS, lowest - POINTS, highest - POINTS, color="0.88", label=band)
        coverage.fill_between(POINTS, lowest, highest, color="0.88")
        named: dict[str, list[str]] = {}
        lines = cycle(("-", "--", ":", "-."))
        for each, word in self._drawn():
            shares = Uniformity.counts(each.values.double().cpu().numpy()) / self.data
            style: dict[str, Any] = {"color": COLOURS.get(word, "0.45"), "lw": 0.7 if word == NOTHING else 1.4}
            if each.kind == "distance":
                label = f"{each.name.removeprefix('coverage, ')}: {word}"
                coverage.plot(POINTS, shares, ls=next(lines), label=label, **style)
                continue
            differences.plot(POINTS, shares - POINTS, ls="--" if each.kind == "density" else "-", **style)
            named.setdefault(word, []).insert(0, each.name)
        for word, names in named.items():
            label = f"{word}: {in_short([*dict.fromkeys(names)], 3)}"
            differences.plot([], [], color=COLOURS.get(word, "0.45"), label=label)
        differences.axhline(0, color="black", lw=0.8)
        differences.set(
            xlabel="place of the true value among the guide's samples",
            ylabel="distribution function minus diagonal",
            title=f"Ranks (densities dashed): {self.status}",
        )
        low, high = differences.get_ylim()
        differences.set_ylim(low, high + (0.1 + 0.1 * len(named)) * (high - low))
        differences.legend(frameon=False, fontsize="small", loc="upper left")
        coverage.axline((0, 0), slope=1, color="black", lw=0.8)
        coverage.set(
            xlim=(0, 1), ylim=(0, 1), xlabel="credibility", ylabel="coverage", title="Regions around random points"
        )
        coverage.legend(frameon=False, fontsize="small", loc="upper left")


def _p_value(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-16 else "< 1e-16"

"""The plane of rate and distortion: trained pairs as points, their hull, and four regimes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.studies.figures import show_image_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["REGIMES", "TrainedPair", "draw_curves", "draw_plane", "draw_sheet", "hull", "regimes"]

REGIMES = {
    "auto-decoder": (0.0, "R below H/20"),
    "semantic encoder": (1 / 20, "R from H/20 to H/2"),
    "syntactic encoder": (1 / 2, "R from H/2 to 3 H/4"),
    "auto-encoder": (3 / 4, "R from 3 H/4"),
}
"""The four regimes of Alemi et al. (2018, section 4.2), which names them by examples: the smallest share of the entropy
that the rate has, and the rule in words. Where a bound is tight, D = H - R gives the same rule for the distortion."""


@dataclass(frozen=True)
class TrainedPair:
    """A trained pair on the plane.

    Arguments:
        family: Name of the family of models and guides.
        at: Values of the sweep's grid by option.
        beta: Weight of the rate in training.
        seed: Seed of the training.
        values: Measured values, as :func:`ppl_vae.studies.sweep_cell.measured_cell` returns them.
    """

    family: str
    at: Mapping[str, Any]
    beta: float
    seed: int
    values: Mapping[str, Tensor]

    def __getitem__(self, key: str) -> float:
        return self.values[key].item()

    @property
    def rate(self) -> float:
        return self["rate"]

    @property
    def distortion(self) -> float:
        return self["distortion"]

    @property
    def bound(self) -> float:
        """The negative ELBO, an upper bound on the entropy of the data."""
        return -self["elbo"]

    @property
    def description(self) -> str:
        """The grid values as text."""
        return ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in self.at.items()
        )


def hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns the lower left part of the convex hull of points (R, D), from the lowest rate to the lowest distortion.

    Mixing the encoders and decoders of two points, by a shared coin, reaches every point between them.

    Example:
        >>> hull([(0, 4), (1, 3), (1, 1), (2, 0.9), (3, 0), (4, 2)])
        [(0, 4), (1, 1), (3, 0)]
    """
    corners: list[tuple[float, float]] = []
    for r, d in sorted(points):
        if corners and d >= corners[-1][1]:
            continue
        while len(corners) > 1:
            (r0, d0), (r1, d1) = corners[-2:]
            if (r1 - r0) * (d - d0) > (r - r0) * (d1 - d0):
                break
            corners.pop()
        corners.append((r, d))
    return corners


def regimes(points: Sequence[TrainedPair], entropy: float) -> dict[str, TrainedPair]:
    """Returns the run with the best bound in each regime of :data:`REGIMES` that has a run.

    Arguments:
        points: All runs.
        entropy: The best bound H on the entropy, positive.
    """

    def regime(point: TrainedPair) -> str:
        return [name for name, (share, _) in REGIMES.items() if max(point.rate, 0.0) >= share * entropy][-1]

    best: dict[str, TrainedPair] = {}
    for point in sorted(points, key=lambda point: point.bound):
        best.setdefault(regime(point), point)
    return {name: best[name] for name in REGIMES if name in best}


MARKERS = "osD^vP*X<>ph"


def styles(points: Sequence[TrainedPair]) -> dict[str, dict[str, Any]]:
    """Returns a colour and a marker for each family."""
    families = dict.fromkeys(point.family for point in points)
    looks = zip(itertools.cycle(OKABE_ITO), itertools.cycle(MARKERS), strict=False)
    return {
        family: {"color": colour, "marker": marker} for family, (colour, marker) in zip(families, looks, strict=False)
    }


def draw_plane(figure: Figure, points: list[TrainedPair], entropy: float, title: str) -> None:
    """Draws all runs, their hull and lines of equal ELBO, and the excess of each run over the best bound."""
    plane, above = figure.subplots(1, 2)
    rates, distortions = [p.rate for p in points], [p.distortion for p in points]
    low, high, wide = min(distortions), max(distortions), max(*rates, 1e-3)
    tall = max(high - low, 1e-3)
    for family, look in styles(points).items():
        members = [p for p in points if p.family == family]
        plane.plot(
            [p.rate for p in members], [p.distortion for p in members], linestyle="", markersize=5, label=family, **look
        )
        above.plot([p.rate for p in members], [p.bound - entropy for p in members], linestyle="", markersize=5, **look)
    corner = hull(list(zip(rates, distortions, strict=True)))
    plane.plot(*zip(*corner, strict=True), color="0.3", linewidth=1, zorder=1, label="convex hull of all")
    across = (-0.03 * wide, 1.1 * wide)
    plane.fill_between(across, [entropy - r for r in across], low - 10 * tall, color="0.9", zorder=0)
    for step in (1, 2, 3):
        level = entropy + step * (high - entropy) / 4
        plane.plot(across, [level - r for r in across], color="0.75", linewidth=0.7, linestyle="--", zorder=0)
    plane.set(xlabel="rate R (nats)", ylabel="distortion D (nats)", xlim=across)
    plane.set_ylim(low - 0.05 * tall, high + 0.08 * tall)
    plane.set_title(f"grey: D + R below the best bound on H, {entropy:.1f}; dashed: equal ELBO", fontsize=9)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    above.axhline(0, color="0.6", linewidth=0.8)
    most = max(p.bound - entropy for p in points)
    if most > 5:
        above.set_yscale("symlog", linthresh=1)
    above.set(xlabel="rate R (nats)", ylabel="D + R above the best bound (nats)")
    above.set_ylim(-0.05 * min(most, 4), 1.5 * max(most, 1) if most > 5 else 1.1 * most)
    _label_apart(above, {(p.rate, p.bound - entropy): _short(p) for p in points})
    above.set_title("numbers: " + ", ".join(points[0].at), fontsize=9)
    figure.suptitle(title, fontsize=11)


def _short(point: TrainedPair) -> str:
    return str(next(iter(point.at.values()), "")) if len(point.at) == 1 else point.description


def _label_apart(axes: Axes, labels: Mapping[tuple[float, float], str]) -> None:
    """Labels points, but for those whose label would lie on another one."""
    taken: list[tuple[float, float]] = []
    for place, label in labels.items():
        x, y = axes.transData.transform(place) * 72 / axes.figure.dpi
        if all(abs(x - a) > 6 + 3.5 * len(label) or abs(y - b) > 8 for a, b in taken):
            axes.annotate(label, place, (4, 3), textcoords="offset points", fontsize=6)
            taken.append((x, y))


def draw_curves(figure: Figure, points: list[TrainedPair]) -> None:
    """Draws the curves of decoders with their guides, and the loss of each guide at its weight of the rate."""
    plane, loss = figure.subplots(1, 2)
    for family, look in styles(points).items():
        members = sorted((p for p in points if p.family == family), key=lambda p: abs(p.beta - 1))
        first = members[0]
        curve = [first.values[f"curve {key}"].tolist() for key in ("rate", "distortion")]
        style = {"linestyle": ":", "linewidth": 1, "marker": ".", "markersize": 5}
        plane.plot(*curve, color=look["color"], label=f"{family}, {first.description}", **style)
        plane.plot(*first.values["curve guide"].tolist(), markersize=8, markeredgecolor="black", **look)
        for seed in {p.seed for p in members}:
            course = sorted((p for p in members if p.seed == seed), key=lambda p: p.beta)
            r = [p.values["curve guide"][0].item() for p in course]
            places = [int((p.values["curve beta"].log() - log(p.beta or 1e-3)).abs().argmin()) for p in course]
            at = list(zip(course, places, strict=True))
            lost, se = ([p.values[key][i].item() for p, i in at] for key in ("lost", "lost se"))
            loss.errorbar(r, lost, [2 * e for e in se], capsize=2, linewidth=1, markersize=4, **look)
    plane.set(xlabel="rate R (nats)", ylabel="distortion D (nats)")
    count, data = len(points[0].values["curve beta"]), int(points[0]["curve data"])
    plane.set_title(
        f"dots: the best encoders of a trained decoder at {count} weights\nlarge markers: its guide; {data} data",
        fontsize=9,
    )
    plane.legend(frameon=False, fontsize=7)
    loss.axhline(0, color="0.6", linewidth=0.8)
    loss.set(xlabel="rate R of the guide (nats)", ylabel=r"its D + $\beta$ R above the smallest (nats)")
    loss.set_title("every run, at the weight nearest to that of its training; a line per seed", fontsize=9)


def draw_sheet(figure: Figure, picked: Mapping[str, TrainedPair]) -> None:
    """Draws test data, and of one run per regime its reconstructions and samples."""
    rows = {"test data": [next(iter(picked.values())).values["images"]]}
    for name, point in picked.items():
        numbers = f"{point.description}: R {point.rate:.1f}, D {point.distortion:.1f}"
        rows[f"{name}\n{point.family}\n{numbers}"] = [point.values[key] for key in ("reconstructions", "samples")]
    show_image_table(figure, rows, ["x from p(x | z), z from the guide", "x from p(x | z), z from the prior"])

"""The plane of rate and distortion: its points, their hull, four regimes, and what must hold there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ppl_vae.report import Claim, Report, Row
from ppl_vae.study import Study

__all__ = ["REGIMES", "Point", "hull", "regimes", "report_of"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
"""Colour-blind-safe (Okabe and Ito), one a family."""
MARKERS = "osD^vP*X<>ph"
REGIMES = {
    "auto-decoder": "R below 1 nat",
    "semantic encoder": "R from 1 nat, D from H/2",
    "syntactic encoder": "D from H/4 to H/2",
    "auto-encoder": "D below H/4",
}
"""The four regimes of Alemi et al. (2018, section 4.2), which names them by examples, and the rules that pick them."""
PUBLISHED = {"binarized_mnist": 80.2}
"""The best bound on the entropy that the paper reached, by corpus, in nats."""


@dataclass(frozen=True)
class Point:
    """A trained pair on the plane.

    Arguments:
        family: Of models and guides.
        at: Where on the grid of the sweep.
        seed: Of its training.
        values: What was measured of it, as :func:`ppl_vae.sweep.measured_cell` gives it.
    """

    family: str
    at: Mapping[str, Any]
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
        """-ELBO, an upper bound of the entropy of the data."""
        return -self["elbo"]

    @property
    def words(self) -> str:
        """Where on the grid, in words."""
        return ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in self.at.items()
        )


def hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lower left of the convex hull of points (R, D), from the lowest rate to the lowest distortion.

    Mixing encoders and decoders of two points, by a coin that both know, reaches every point between them.

    Example:
        >>> hull([(0, 4), (1, 3), (1, 1), (2, 0.9), (3, 0), (4, 2)])
        [(0, 4), (1, 1), (3, 0)]
    """
    found: list[tuple[float, float]] = []
    for r, d in sorted(points):
        if found and d >= found[-1][1]:
            continue
        while len(found) > 1:
            (r0, d0), (r1, d1) = found[-2:]
            if (r1 - r0) * (d - d0) > (r - r0) * (d1 - d0):
                break
            found.pop()
        found.append((r, d))
    return found


def regimes(points: Sequence[Point], entropy: float) -> dict[str, Point]:
    """Of each regime that has a run the one with the best bound, by the rules of :data:`REGIMES`.

    Arguments:
        points: All runs.
        entropy: The best bound on it, H.
    """

    def regime(point: Point) -> str:
        if point.rate < 1:
            return "auto-decoder"
        return (
            "semantic encoder"
            if point.distortion >= entropy / 2
            else "syntactic encoder"
            if point.distortion >= entropy / 4
            else "auto-encoder"
        )

    found: dict[str, Point] = {}
    for point in sorted(points, key=lambda point: point.bound):
        found.setdefault(regime(point), point)
    return {name: found[name] for name in REGIMES if name in found}


def report_of(study: Study, points: list[Point], title: str, failed: tuple[str, ...], corpora: set[str]) -> Report:
    """Table, claims and figures of a sweep."""
    best = min(points, key=lambda point: -point["evidence"])
    entropy = -best["evidence"]
    paper = PUBLISHED.get(next(iter(corpora))) if len(corpora) == 1 else None
    smallest = min(points, key=lambda point: point.bound)
    rows = [
        Row("best negative ELBO, a bound on the entropy", [smallest.bound], paper, digits=2),
        Row("best negative evidence, the bound H that is used", [entropy], digits=2),
    ]
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.family, point.words), []).append(point)
    for (family, words), cells in groups.items():
        for key, name in (("rate", "R"), ("distortion", "D"), ("elbo", "ELBO"), ("evidence", "evidence")):
            rows.append(Row(f"{words}: {name}", [cell[key] for cell in cells], group=family, digits=2))
        rows.append(
            Row(f"{words}: I of the data measured", [c["here information"] for c in cells], group=family, digits=2)
        )
    drawn = [point for point in points if "curve rate" in point.values]
    pictures = all("pictures" in point.values for point in points)
    study.figure("plane", partial(draw_plane, points=points, entropy=entropy, title=title), (10.5, 5.2))
    if drawn:
        study.figure("curves", partial(draw_curves, points=drawn), (10.5, 4.4))
    notes = [
        f"H is the best bound on the entropy, -log p(x) by {best.family}, {best.words}; se, if any, is over seeds",
        "I of the data measured cannot exceed the log of their number; the leave-one-out bound holds for all data",
    ]
    if pictures:
        picked = regimes(points, entropy)
        study.figure("regimes", partial(draw_sheet, picked=picked), (9, 0.3 + 1.15 * (1 + len(picked))))
        missing = [f"{name} ({rule})" for name, rule in REGIMES.items() if name not in picked]
        notes.append("regimes: " + "; ".join(f"{n} ({REGIMES[n]}): {p.family}, {p.words}" for n, p in picked.items()))
        notes += [f"no run is a(n) {', '.join(missing)}"] if missing else []
    return Report(title, rows, claims(points, drawn, entropy, smallest, paper), (*notes, *failed))


def claims(
    points: list[Point], drawn: list[Point], entropy: float, smallest: Point, paper: float | None
) -> list[Claim]:
    """What theory says of every run, and what the paper found."""

    def above(text: str, margins: list[tuple[float, float]]) -> Claim:
        """That differences are not negative, within two of their errors."""
        worst = min(margins, key=lambda pair: pair[0] + 2 * pair[1])
        held = all(margin + 2 * error >= -1e-6 for margin, error in margins)
        return Claim(text, held, f"{len(margins)} cases, at the tightest {worst[0]:+.3g} +- {worst[1]:.2g}")

    def between(point: Point, high: str, low: str) -> tuple[float, float]:
        return point[high] - point[low], math.hypot(point[f"{high} se"], point[f"{low} se"])

    least = "here information leaving one out"
    found = [
        above("in every run I <= R", [between(p, "here rate", "here information") for p in points]),
        above(
            "in every run H - D is at most the least upper bound of I",
            [
                (p[least] + p.distortion - entropy, math.hypot(p[f"{least} se"], p["distortion se"]))
                if p[least] < p.rate
                else (p.bound - entropy, p["elbo se"])
                for p in points
            ],
        ),
    ]
    if drawn:
        margins = [
            pair for p in drawn for pair in zip(p.values["lost"].tolist(), p.values["lost se"].tolist(), strict=True)
        ]
        found.append(above("the guide is nowhere below the curve of its decoder", margins))
    weights = sorted({p.at["beta"] for p in points if "beta" in p.at})
    if len(weights) > 1:
        families = {(p.family, p.seed) for p in points}
        rates = {
            f: [p.rate for b in weights for p in points if (p.family, p.seed) == f and p.at.get("beta") == b]
            for f in families
        }
        steps = [high - low for values in rates.values() for high, low in zip(values, values[1:], strict=False)]
        words = f"{sum(step >= 0 for step in steps)} of {len(steps)} steps"
        found.append(Claim("a heavier weight never raises the rate", all(step >= 0 for step in steps), words))
    if paper is not None:
        words = f"{smallest.bound:.2f} by {smallest.family}, {smallest.words}"
        found.append(Claim(f"the best bound reaches the paper's {paper:g}", smallest.bound <= paper, words))
    return found


def styles(points: Sequence[Point]) -> dict[str, dict[str, Any]]:
    """A colour and a marker for each family."""
    families = dict.fromkeys(point.family for point in points)
    looks = zip(itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False)
    return {
        family: {"color": colour, "marker": marker} for family, (colour, marker) in zip(families, looks, strict=False)
    }


def draw_plane(figure: Any, points: list[Point], entropy: float, title: str) -> None:
    """Every run, the hull of all and lines of one ELBO; and how far above the best bound each run is."""
    plane, above = figure.subplots(1, 2)
    rates, distortions = [p.rate for p in points], [p.distortion for p in points]
    low, high, wide = min(distortions), max(distortions), max(*rates, 1e-3)
    tall = max(high - low, 1e-3)
    for family, look in styles(points).items():
        own = [p for p in points if p.family == family]
        plane.plot([p.rate for p in own], [p.distortion for p in own], linestyle="", markersize=5, label=family, **look)
        above.plot([p.rate for p in own], [p.bound - entropy for p in own], linestyle="", markersize=5, **look)
        for p in own:
            words = next(iter(p.at.values()), "") if len(p.at) == 1 else p.words
            above.annotate(str(words), (p.rate, p.bound - entropy), (4, 2), textcoords="offset points", fontsize=6)
    corner = hull(list(zip(rates, distortions, strict=True)))
    plane.plot(*zip(*corner, strict=True), color="0.3", linewidth=1, zorder=1, label="convex hull of all")
    across = (-0.03 * wide, 1.1 * wide)
    plane.fill_between(across, [entropy - r for r in across], low - 10 * tall, color="0.9", zorder=0)
    for step in (1, 2, 3):
        level = entropy + step * (high - entropy) / 4
        plane.plot(across, [level - r for r in across], color="0.75", linewidth=0.7, linestyle="--", zorder=0)
    plane.set(xlabel="rate R (nats)", ylabel="distortion D (nats)", xlim=across)
    plane.set_ylim(low - 0.05 * tall, high + 0.08 * tall)
    plane.set_title(f"grey: D + R below the best bound on H, {entropy:.1f}; dashed: one ELBO", fontsize=9)
    plane.legend(frameon=False, fontsize=7, loc="upper right")
    above.axhline(0, color="0.6", linewidth=0.8)
    above.set_yscale("symlog", linthresh=1)
    above.set(xlabel="rate R (nats)", ylabel="D + R above the best bound (nats)", ylim=(-0.2, None))
    above.set_title("numbers: " + ", ".join(points[0].at), fontsize=9)
    figure.suptitle(title, fontsize=11)


def draw_curves(figure: Any, points: list[Point]) -> None:
    """The curves of decoders with their guides' points, and what each guide loses at its own weight of the rate."""
    plane, loss = figure.subplots(1, 2)
    for family, look in styles(points).items():
        own = sorted((p for p in points if p.family == family), key=lambda p: abs(p.at.get("beta", 1.0) - 1))
        first = own[0]
        curve = [first.values[f"curve {key}"].tolist() for key in ("rate", "distortion")]
        plane.plot(*curve, color=look["color"], linewidth=1, label=f"{family}, {first.words}")
        plane.plot(*first.values["curve guide"].tolist(), markersize=6, **look)
        losses = []
        for p in own:
            betas = p.values["curve beta"]
            place = int((betas.log() - math.log(p.at.get("beta", 1.0) or 1e-3)).abs().argmin())
            losses.append(
                (
                    p.values["curve guide"][0].item(),
                    p.values["lost"][place].item(),
                    2 * p.values["lost se"][place].item(),
                )
            )
        r, lost, error = zip(*sorted(losses), strict=True)
        loss.errorbar(r, lost, error, capsize=2, linewidth=1, markersize=4, **look)
    plane.set(xlabel="rate R (nats)", ylabel="distortion D (nats)")
    plane.set_title("lines: the best encoders of a trained decoder; markers: its guide", fontsize=9)
    plane.legend(frameon=False, fontsize=7)
    loss.axhline(0, color="0.6", linewidth=0.8)
    loss.set(xlabel="rate R of the guide (nats)", ylabel=r"its D + $\beta$ R above the least (nats)")
    loss.set_title("every run, at the weight nearest the one it was trained at", fontsize=9)


def draw_sheet(figure: Any, picked: Mapping[str, Point]) -> None:
    """Test data, and of one run a regime what it makes of them and what it draws itself."""
    panels = figure.subplots(1 + len(picked), 2, squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
        axes.axis("off")

    def show(axes: Any, pictures: Tensor) -> None:
        side = pad(pictures.float().clamp(0, 1), (1, 1, 1, 1), value=0.5)
        row = torch.cat(list(side), -1)
        axes.imshow((row.movedim(0, -1) if row.ndim == 3 else row).numpy(), cmap="gray", vmin=0, vmax=1)

    show(panels[0, 0], next(iter(picked.values())).values["pictures"])
    panels[0, 0].set_title("test data", fontsize=9)
    for line, (name, point) in zip(panels[1:], picked.items(), strict=True):
        show(line[0], point.values["reconstructions"])
        show(line[1], point.values["samples"])
        words = f"{name}: {point.family}, {point.words}; R {point.rate:.1f}, D {point.distortion:.1f}"
        line[0].set_title(f"{words}\ndrawn from p(x | z), z from the guide", fontsize=7)
        line[1].set_title("drawn from p(x | z), z from the prior", fontsize=7)

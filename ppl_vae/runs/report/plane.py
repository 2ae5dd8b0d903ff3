"""Points in a plane, over regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ppl_vae.runs.report.svg import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    axis_below,
    axis_left,
    hover_mark,
    legend_of,
    rule,
    svg,
)

__all__ = ["Dot", "Regions", "scatter"]


@dataclass(frozen=True)
class Dot:
    """A point with its name."""

    x: float
    y: float
    name: str
    colour: str = "blue"


@dataclass(frozen=True)
class Regions:
    """A picture of a rectangle of the plane.

    Arguments:
        picture: Its address, which holds the picture itself; empty where only the ends of the axes are meant.
        x: Its ends from left to right.
        y: Its ends from below.
    """

    picture: str
    x: tuple[float, float]
    y: tuple[float, float]


def scatter(
    dots: Sequence[Dot],
    label: str,
    names: tuple[str, str],
    *,
    meaning: Sequence[tuple[str, str]] = (),
    behind: Regions | None = None,
) -> Markup:
    """Points over two axes of one scale of their own each.

    Arguments:
        dots: The points.
        label: What the chart shows, for those who cannot see it.
        names: Names of the axes.
        meaning: What the colours mean, as (meaning, colour).
        behind: What is drawn behind the points.
    """
    legend, taken = legend_of(meaning, TOP + 18) if meaning else (Markup(""), 0)
    top, bottom = TOP + 10 + taken, 330 + taken
    (left, right), (low, high) = (behind.x, behind.y) if behind else extent(dots)
    x, y = Scale(left, right, LEFT, WIDTH - RIGHT), Scale(low, high, bottom, top)
    parts: list[Markup] = []
    if behind and behind.picture:
        parts.append(
            Markup(
                '<image href="{}" x="{}" y="{}" width="{}" height="{}" preserveAspectRatio="none" class="behind"/>'
            ).format(behind.picture, LEFT, top, WIDTH - RIGHT - LEFT, bottom - top)
        )
    parts += [axis_left(y, names[1]), legend, rule(LEFT, top, LEFT, bottom, "axis")]
    parts += [hover_mark(x(dot.x), y(dot.y), dot.name, dot.colour, kind="dot", radius=2.5) for dot in dots]
    return svg(bottom + BOTTOM, label, *parts, axis_below(x, bottom, names[0]))


def extent(dots: Sequence[Dot]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ends of both axes, with some room around the points."""
    ends = []
    for values in ([dot.x for dot in dots], [dot.y for dot in dots]):
        low, high = min(values), max(values)
        pad = 0.06 * (high - low) or 0.5
        ends.append((low - pad, high + pad))
    return ends[0], ends[1]

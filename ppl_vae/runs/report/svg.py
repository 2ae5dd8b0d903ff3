"""Parts of charts as inline SVG: axes, marks with a hover text, legends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ppl_vae.runs.report.markup import joined

__all__ = [
    "LEFT",
    "RIGHT",
    "TOP",
    "BOTTOM",
    "WIDTH",
    "Scale",
    "axis_below",
    "axis_left",
    "box",
    "hover_mark",
    "legend_of",
    "number",
    "rule",
    "svg",
    "ticks",
    "words",
]

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 400, 52, 10, 12, 40
"""Size of a chart and of its margins, in units of which a letter is 12 high."""


@dataclass(frozen=True)
class Scale:
    """A map of values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        place = self.start + (min(max(value, self.low), self.high) - self.low) / span * (self.end - self.start)
        return round(place, 1)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two values, about so many.

    Example:
        >>> ticks(0, 10), ticks(-331.6, -328.4, 4)
        ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [-331.0, -330.0, -329.0])
    """
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= 0.999 * raw)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A number at an axis."""
    return f"{value:,.6g}".replace("-", "\u2212")


def svg(height: float, label: str, *parts: str) -> Markup:
    """A chart of this height, with what it shows in words."""
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, round(height), label, joined(parts)
    )


def words(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> Markup:
    """Text in a chart; the anchor is the part of it that lies at the place."""
    return Markup('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>').format(x, y, kind, anchor, text)


def rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(x1, y1, x2, y2, kind)


def box(x: float, y: float, width: float, height: float, colour: str, title: str) -> Markup:
    """A rectangle with a hover text; the thinnest can still be seen."""
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="mark {}"><title>{}</title></rect>').format(
        x, y, round(max(width, 1.0), 1), round(max(height, 0.0), 1), colour, title
    )


def axis_below(x: Scale, y: float, name: str, values: Sequence[float] | None = None) -> Markup:
    """The axis below a chart."""
    marks = [
        joined([rule(x(v), y, x(v), y + 4, "axis"), words(x(v), y + 16, number(v), anchor="middle")])
        for v in (ticks(x.low, x.high) if values is None else values)
    ]
    title = words((x.start + x.end) / 2, y + 34, name, anchor="middle")
    return joined([rule(x.start, y, x.end, y, "axis"), *marks, title])


def axis_left(y: Scale, name: str) -> Markup:
    """The axis left of a chart, its name above it."""
    marks = [
        joined([rule(LEFT, y(v), WIDTH - RIGHT, y(v), "grid"), words(LEFT - 6, y(v) + 4, number(v), anchor="end")])
        for v in ticks(y.low, y.high, 4)
    ]
    return joined([*marks, words(4, TOP, name)])


def legend_of(named: Sequence[tuple[str, str]], y: float) -> tuple[Markup, float]:
    """Names beside their colours, in lines as wide as the chart; and the height they take."""
    parts, x, line = [], float(LEFT), y
    for name, colour in named:
        width = 26 + 6.6 * len(name)
        if x > LEFT and x + width > WIDTH:
            x, line = float(LEFT), line + 18
        parts += [box(x, line - 9, 10, 10, colour, name), words(x + 15, line, name)]
        x += width
    return joined(parts), line - y + 18


def hover_mark(x: float, y: float, title: str, colour: str, *, kind: str = "hover", radius: float = 4) -> Markup:
    """A point with a hover text; one of the kind ``"hover"`` is seen under the pointer alone."""
    return Markup('<circle cx="{}" cy="{}" r="{}" class="{} {}"><title>{}</title></circle>').format(
        x, y, radius, kind, colour, title
    )

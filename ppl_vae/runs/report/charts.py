"""Charts as inline SVG: small enough for a phone, with a hover text on every mark and a description for the blind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.runs.report.svg import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    axis_below,
    axis_left,
    box,
    hover_mark,
    legend_of,
    number,
    rule,
    svg,
    ticks,
    words,
)

__all__ = ["COLOURS", "Bar", "Line", "bar_chart", "floating_bars", "histogram", "line_chart"]

COLOURS = tuple(name for name in OKABE_ITO._fields if name not in ("black", "yellow"))
"""Names of the colours, in the order in which series take them."""

MOST_POINTS = 240
"""Points of a line beyond which it is drawn through some of them."""


@dataclass(frozen=True)
class Bar:
    """A bar between two values.

    Arguments:
        name: What it is.
        low: Where it begins.
        high: Where it ends.
        value: Its value in words.
        colour: Name of its colour.
        error: Half the length of its whisker; 0 for none.
    """

    name: str
    low: float
    high: float
    value: str
    colour: str = "blue"
    error: float = 0.0


@dataclass(frozen=True)
class Line:
    """A line through points, in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


def floating_bars(bars: Sequence[Bar], label: str, axis: str, *, zero: bool = False) -> Markup:
    """Bars one below the other, each under its name and value.

    Arguments:
        bars: The bars; one that begins where it ends is drawn as a point.
        label: What the chart shows, for those who cannot see it.
        axis: Name and unit of the values.
        zero: Whether the axis begins at zero.
    """
    low = 0.0 if zero else min(min(bar.low, bar.high) - bar.error for bar in bars)
    high = max(max(bar.low, bar.high) + bar.error for bar in bars)
    pad = 0.04 * (high - low) or 0.5
    x = Scale(low if zero else low - pad, high + pad, 10, WIDTH - 10)
    parts, y = [], 16
    for bar in bars:
        first, last = sorted((x(bar.low), x(bar.high)))
        title = f"{bar.name}: {bar.value}"
        parts += [words(10, y, bar.name), words(WIDTH - 10, y, bar.value, "strong", "end")]
        parts.append(rule(10, y + 16, WIDTH - 10, y + 16, "grid"))
        if bar.low == bar.high:
            parts.append(hover_mark(first, y + 16, title, bar.colour, kind="mark", radius=6))
        else:
            parts.append(box(first, y + 8, last - first, 16, bar.colour, title))
        if bar.error:
            parts.append(rule(x(bar.high - bar.error), y + 16, x(bar.high + bar.error), y + 16, "whisker"))
        y += 46
    return svg(y + 28, label, *parts, axis_below(x, y - 10, axis))


def line_chart(lines: Sequence[Line], label: str, x_name: str, y_name: str, *, mark: float | None = None) -> Markup:
    """Lines over a common axis, without the first values where those would hide the rest.

    Arguments:
        lines: The lines.
        label: What the chart shows, for those who cannot see it.
        x_name: Name of the axis below.
        y_name: Name and unit of the values.
        mark: Where on the axis below a dotted line is drawn.
    """
    shown = [Line(each.name, _thinned(each.points), each.colour, each.dashed) for each in lines]
    xs = [x for line in lines for x, _ in line.points]
    low, high = _range([[y for _, y in line.points if math.isfinite(y)] for line in lines])
    legend, taken = legend_of([(line.name, line.colour) for line in lines], TOP + 18)
    top, bottom = TOP + taken + 14, 250 - BOTTOM + taken
    x, y = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT), Scale(low, high, bottom, top)
    parts = [axis_left(y, y_name), legend]
    if mark is not None:
        parts.append(rule(x(mark), top, x(mark), bottom, "marked"))
    for line in shown:
        points = [(x(a), y(b), a, b) for a, b in line.points if low <= b <= high]
        path = " ".join(f"{a},{b}" for a, b, _, _ in points)
        kind = f"line {line.colour}{' dashed' if line.dashed else ''}"
        parts.append(Markup('<polyline points="{}" class="{}"/>').format(path, kind))
        hover = points[:: max(1, len(points) // 60)]
        parts += [hover_mark(a, b, f"{line.name}, {x_name} {number(c)}: {d:.3f}", line.colour) for a, b, c, d in hover]
    values = [v for v in ticks(x.low, x.high) if v == round(v)] or [x.low]
    return svg(bottom + BOTTOM, label, *parts, axis_below(x, bottom, x_name, values))


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    step = math.ceil(len(points) / MOST_POINTS)
    return points if step <= 1 else [*points[:-1:step], points[-1]]


def _range(series: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Ends of an axis: those of the values after the first twentieth, of which the course is to be seen."""
    later = [value for values in series for value in values[len(values) // 20 + (len(values) > 10) :]]
    low, high = min(later, default=0.0), max(later, default=1.0)
    pad = 0.05 * (high - low) or 0.5
    return low - pad, high + pad


def histogram(values: Sequence[float], label: str, x_name: str, what: str, *, bins: int = 30) -> Markup:
    """How many data have which value; the last bar holds all beyond the 99th percentile.

    Arguments:
        values: One value a datum.
        label: What the chart shows, for those who cannot see it.
        x_name: Name and unit of the values.
        what: The data, such as ``"documents"``.
        bins: Number of bars.
    """
    ordered = sorted(values)
    low, last = min(0.0, ordered[0]), ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    high = last if last > low else low + 1.0
    width = (high - low) / bins
    counts = [0] * bins
    for value in ordered:
        counts[min(bins - 1, max(0, int((value - low) / width)))] += 1
    bottom = 230 - BOTTOM
    x, y = Scale(low, high, LEFT, WIDTH - RIGHT), Scale(0, 1.05 * max(counts), bottom, TOP + 12)
    parts = [axis_left(y, what)]
    for i, count in enumerate(counts):
        start, end = low + i * width, low + (i + 1) * width
        beyond = i == bins - 1 and ordered[-1] > end
        title = f"{start:.2f} to {ordered[-1] if beyond else end:.2f}: {count} {what}"
        if count:
            parts.append(box(x(start) + 0.5, y(count), x(end) - x(start) - 1, bottom - y(count), "blue", title))
    if ordered[-1] > high:
        parts.append(words(WIDTH - RIGHT, TOP, f"last bar: up to {ordered[-1]:.1f}", "faint", "end"))
    return svg(bottom + BOTTOM, label, *parts, axis_below(x, bottom, x_name))


def bar_chart(bars: Sequence[Bar], label: str, x_name: str, y_name: str, named: Sequence[tuple[str, str]]) -> Markup:
    """Upright bars beside each other, from zero.

    Arguments:
        bars: The bars, of which ``high`` is drawn.
        label: What the chart shows, for those who cannot see it.
        x_name: Name of the bars.
        y_name: Name and unit of their values.
        named: What the colours mean, as (meaning, colour).
    """
    legend, taken = legend_of(named, TOP + 18)
    top, bottom = TOP + taken + 12, 230 - BOTTOM + taken
    y = Scale(0, 1.05 * max([bar.high for bar in bars if math.isfinite(bar.high)], default=1.0) or 1, bottom, top)
    step = (WIDTH - RIGHT - LEFT) / len(bars)
    parts = [axis_left(y, y_name), legend]
    for i, bar in enumerate(bars):
        place = LEFT + (i + 0.1) * step
        height = bottom - y(bar.high)
        parts.append(box(round(place, 1), y(bar.high), 0.8 * step, height, bar.colour, f"{bar.name}: {bar.value}"))
    axis = rule(LEFT, bottom, WIDTH - RIGHT, bottom, "axis")
    name = words((LEFT + WIDTH - RIGHT) / 2, bottom + 20, x_name, anchor="middle")
    return svg(bottom + 28, label, *parts, axis, name)

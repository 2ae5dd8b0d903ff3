"""What all figures share: colours, gap bars, histograms over data, titles that fit, labels that do not collide."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = [
    "OKABE_ITO",
    "PART_COLOURS",
    "MeanWithError",
    "apart",
    "bars_of_counts",
    "diverging",
    "draw_gap_bars",
    "draw_seeds",
    "draw_spread",
    "fit_title",
    "folded",
    "marker",
    "show_lines",
    "show_sheet",
    "show_sheets",
    "tiled",
    "whole",
]


class OkabeIto(NamedTuple):
    """Colours that the colour-blind can tell apart (Okabe and Ito 2008), in the order in which series take them."""

    blue: str = "#0072B2"
    vermilion: str = "#D55E00"
    green: str = "#009E73"
    orange: str = "#E69F00"
    purple: str = "#CC79A7"
    sky_blue: str = "#56B4E9"
    black: str = "#000000"
    yellow: str = "#F0E442"


OKABE_ITO = OkabeIto()
"""The colours of all figures: ``OKABE_ITO.blue``, or all of them in order."""

PART_COLOURS = {
    "amortisation gap": OKABE_ITO.orange,
    "family gap": OKABE_ITO.blue,
    "gap": OKABE_ITO.sky_blue,
    "width": OKABE_ITO.blue,
}
"""The colours of the parts of a gap, from the ELBO up, and of other distances."""

FEW = 12
"""Number of epochs from which curves have no markers."""

LETTER = 0.56
"""Width of a letter of matplotlib's own font, in parts of its size."""


class MeanWithError(Protocol):
    """A mean with its standard error: over draws, of an estimate, or over seeds, of a row of a report."""

    @property
    def mean(self) -> float: ...

    @property
    def se(self) -> float:
        """Zero if the mean is exact, NaN if the error is unknown."""

    @property
    def sign(self) -> str:
        """The sign of the direction in which the mean is off, before the mean."""

    @property
    def figure(self) -> str:
        """The mean with its direction and error, as in a table."""


def folded(words: str, inches: float, size: float = 12.0) -> str:
    """Wraps text to a width in inches at a font size in points; a path is shortened to its last name.

    Example:
        >>> folded("image (generator=/a/long/path/g.safetensors, latents=32)", 3.0)
        'image (generator=g.safetensors,\\nlatents=32)'
    """
    short = re.sub(r"=[^=,()\n]*/([^/=,()\n]+)", r"=\1", words)
    width = max(8, int(inches * 72 / (LETTER * size)))
    return "\n".join(textwrap.fill(line, width, break_on_hyphens=False) for line in short.split("\n"))


def fit_title(figure: Figure) -> None:
    """Breaks a figure's title where it is wider than the figure, which grows by the further lines."""
    words = figure.get_suptitle()
    title = next((text for text in figure.texts if words and text.get_text() == words), None)
    if title is None:
        return
    (inches, height), size = figure.get_size_inches(), float(title.get_fontsize())
    lines = folded(words, 0.96 * inches, size)
    title.set_text(lines)
    further = lines.count("\n") - words.count("\n")
    figure.set_size_inches(inches, height + max(0, further) * 1.2 * size / 72)


def whole(axis: Axis) -> None:
    """Ticks of an axis at whole numbers, even where it holds only one: epochs, counts."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def marker(epochs: Sequence[int]) -> str | None:
    """Of the course of a training: points where they are few, of which a single one is no line."""
    return "o" if len(epochs) < FEW else None


def bars_of_counts(axes: Axes) -> None:
    """Finishes a histogram: whole ticks, and its legend in room of its own above the bars."""
    whole(axes.yaxis)
    entries = len(axes.get_legend_handles_labels()[1])
    axes.set_ylim(0, axes.dataLim.y1 * (1.1 + 0.1 * entries))
    axes.legend(loc="upper right", facecolor="white", edgecolor="none", framealpha=1)


def draw_gap_bars(axes: Axes, bars: Mapping[str, Mapping[str, MeanWithError]]) -> None:
    """A bar per pair from its ELBO (diamond) up to its evidence (dot), in the colours of the gap's parts.

    Both ends have their direction, value and standard error; with a single bar the legend below the figure shows those
    of the parts.

    Arguments:
        axes: Where to draw; the layout of the figure is constrained.
        bars: Means by name for each label: ``"ELBO"``, ``"evidence"``, and ``"family gap"`` with
            ``"amortisation gap"`` or, undivided, ``"gap"``; and, where a paper has printed its ELBO, ``"paper"``.
    """
    marks = [means[name] for means in bars.values() for name in ("ELBO", "evidence", "paper") if name in means]
    errors = [max(mark.se, 0.0) if math.isfinite(mark.se) else 0.0 for mark in marks]
    low = min(mark.mean - error for mark, error in zip(marks, errors, strict=True))
    span = max(mark.mean + error for mark, error in zip(marks, errors, strict=True)) - low or 1.0
    digits = min(max(2, 2 - math.floor(math.log10(span))), 6)
    for place, means in enumerate(bars.values()):
        left = means["ELBO"].mean
        for name in [part for part in ("amortisation gap", "family gap") if part in means] or ["gap"]:
            part = means[name]
            label = f"{name}: {part.figure}" if len(bars) == 1 else name
            axes.barh(place, part.mean, left=left, color=PART_COLOURS[name], height=0.6, zorder=2, label=label)
            left += part.mean
        for name, mark, side, align in (("ELBO", "D", -1, "right"), ("evidence", "o", 1, "left")):
            end = means[name]
            error = end.se if end.se > 0 else 0.0
            axes.errorbar(end.mean, place, xerr=error or None, fmt=mark, color="black", capsize=3, label=name)
            text = axes.annotate(
                f"{end.sign}{end.mean:.{digits}f}",
                (end.mean + side * error, place),
                (7 * side, 0),
                textcoords="offset points",
                ha=align,
                va="center",
            )
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
        if "paper" in means:
            axes.plot(means["paper"].mean, place - 0.4, "v", color=OKABE_ITO.vermilion, label="the paper's ELBO")
    axes.set_yticks(range(len(bars)) if any(bars) else [], list(bars) if any(bars) else [])
    axes.set_ylim(len(bars) - 0.2 - 0.4 * (len(bars) > 1), -0.8 + 0.2 * (len(bars) > 1))
    axes.set(xlim=(low - 0.35 * span, low + 1.35 * span), xlabel="nats per datum: from ELBO to evidence")
    handles, labels = axes.get_legend_handles_labels()
    entries: dict[str, Any] = dict(zip(labels, handles, strict=True))
    axes.figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=4, frameon=False)


def draw_seeds(
    axes: Axes,
    values: Mapping[float, Sequence[float]],
    colour: str,
    marker: str = "o",
    **style: Any,  # of the types that matplotlib asks for
) -> None:
    """A hollow marker per seed.

    Arguments:
        axes: Where to draw.
        values: One value per seed, by the number they are drawn over.
        colour: Colour of all markers.
        marker: Their shape, as matplotlib names it.
        style: Further arguments of ``axes.plot``, such as ``label``.
    """
    x = [place for place, each in values.items() for _ in each]
    y = [value for each in values.values() for value in each]
    axes.plot(x, y, color=colour, marker=marker, linestyle="", fillstyle="none", **style)


def draw_spread(axes: Axes, values: Mapping[str, Tensor], xlabel: str) -> None:
    """Histograms over the data of values ``(data,)`` by the name of a part of the gap; of a single one its mean."""
    low = min(each.amin().item() for each in values.values())
    high = max(each.amax().item() for each in values.values())
    if high - low < 1e-9 * max(abs(low), abs(high), 1.0):  # equal but for rounding, which bins cannot divide
        low, high = low - 0.5, high + 0.5
    limits = (low, high)
    for name, each in values.items():
        opacity = 0.6 if len(values) > 1 else 1.0
        axes.hist(each.cpu().numpy(), bins=40, range=limits, color=PART_COLOURS[name], alpha=opacity, label=name)
        if len(values) == 1:
            axes.axvline(each.mean().item(), color=OKABE_ITO.vermilion, label=f"mean {each.mean():.3g}")
    axes.set(xlabel=xlabel, ylabel="data", title="Spread over the data")
    bars_of_counts(axes)


def apart(axes: Axes, points: Sequence[tuple[float, float]], across: float = 0.08, up: float = 0.06) -> list[int]:
    """Positions of the points to label: those at least (across, up) apart, as fractions of the axes."""
    axes.get_xlim(), axes.get_ylim()  # settles the limits
    places = (axes.transScale + axes.transLimits).transform(points).tolist()
    kept: list[int] = []
    for i, (x, y) in enumerate(places):
        if all(abs(x - places[j][0]) >= across or abs(y - places[j][1]) >= up for j in kept):
            kept.append(i)
    return kept


def tiled(images: Tensor, columns: int) -> Tensor:
    """Images tiled in ``columns`` columns, separated by white lines.

    Arguments:
        images: ``(count, height, width)`` or ``(count, channels, height, width)``, cut to [0, 1].
        columns: Number of columns; the last row is filled up with white.

    Returns:
        ``(rows * (height + 2), columns * (width + 2))``, of three colours with them last.

    Example:
        >>> tiled(torch.rand(5, 3, 8, 8), 4).shape
        torch.Size([20, 40, 3])
    """
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    framed = torch.nn.functional.pad(images.detach().cpu().clamp(0, 1), (1, 1, 1, 1), value=1.0)
    missing = -len(framed) % columns
    framed = torch.cat([framed, framed.new_ones(missing, *framed.shape[1:])])
    rows = torch.cat([torch.cat(list(row), -1) for row in framed.split(columns)], -2)
    return rows.movedim(0, -1) if rows.ndim == 3 else rows


def show_sheet(axes: Axes, images: Tensor, columns: int) -> None:
    """Draws :func:`tiled` images without ticks, grey ones in grey."""
    axes.imshow(tiled(images, columns).numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)


def show_sheets(figure: Figure, sheets: Mapping[str, Tensor], columns: int, title: str) -> None:
    """Draws sheets of images side by side by their titles."""
    for axes, (name, images) in zip(figure.subplots(1, len(sheets)), sheets.items(), strict=True):
        show_sheet(axes, images, columns)
        axes.set_title(name)
    figure.suptitle(title)


def show_lines(figure: Figure, lines: Sequence[tuple[str, Tensor]], title: str) -> None:
    """Draws lines of images, each with a name on its left.

    Arguments:
        figure: Where to draw.
        lines: Name and images ``(count, ...)`` of each line, as many in all.
        title: Title of the figure.
    """
    panels = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
    for axes, (name, images) in zip(panels, lines, strict=True):
        show_sheet(axes, images, len(images))
        axes.set_anchor("E")
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(title)


def diverging(images: Tensor) -> Tensor:
    """Colours of images with values of either sign: zero is white, orange negative, purple positive.

    Arguments:
        images: ``(count, height, width)``.

    Returns:
        ``(count, 3, height, width)``.

    Example:
        >>> diverging(torch.tensor([[[-2.0, 0.0]]])).round(decimals=1)[0, :, 0].T.tolist()
        [[0.5, 0.20000000298023224, 0.0], [1.0, 1.0, 1.0]]
    """
    from matplotlib import colormaps

    scaled = 0.5 + images.detach().cpu() / (2 * images.abs().max().item() or 1.0)
    return torch.from_numpy(colormaps["PuOr"](scaled.numpy())[..., :3]).float().movedim(-1, 1)

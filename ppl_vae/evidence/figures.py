"""What all figures share: titles that fit, whole ticks of counts, labels that keep off each other."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["OKABE_ITO", "apart", "bars_of_counts", "fit_title", "folded", "marker", "show_sheet", "tiled", "whole"]


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

FEW = 12
"""From so many epochs on their course is a line without markers."""

LETTER = 0.56
"""Width of a letter of matplotlib's own font, in parts of its size."""


def folded(words: str, inches: float, size: float = 12.0) -> str:
    """Words in lines no longer than so many inches, in letters of so many points; of a path only its last name.

    Example:
        >>> folded("image (generator=/a/long/path/g.safetensors, latents=32)", 3.0)
        'image (generator=g.safetensors,\\nlatents=32)'
    """
    short = re.sub(r"=[^=,()\n]*/([^/=,()\n]+)", r"=\1", words)
    width = max(8, int(inches * 72 / (LETTER * size)))
    return "\n".join(textwrap.fill(line, width, break_on_hyphens=False) for line in short.split("\n"))


def fit_title(figure: Any) -> None:
    """Breaks a figure's title where it is wider than the figure, which grows by the further lines."""
    words = figure.get_suptitle()
    title = next((text for text in figure.texts if words and text.get_text() == words), None)
    if title is None:
        return
    (inches, height), size = figure.get_size_inches(), title.get_fontsize()
    lines = folded(words, 0.96 * inches, size)
    title.set_text(lines)
    further = lines.count("\n") - words.count("\n")
    figure.set_size_inches(inches, height + max(0, further) * 1.2 * size / 72)


def whole(axis: Any) -> None:
    """Ticks of an axis at whole numbers, even where it holds only one: epochs, counts."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def marker(epochs: Sequence[int]) -> str | None:
    """Of the course of a training: points where they are few, of which a single one is no line."""
    return "o" if len(epochs) < FEW else None


def bars_of_counts(axes: Any) -> None:
    """Finishes a histogram: whole ticks, and its legend in room of its own above the bars."""
    whole(axes.yaxis)
    entries = len(axes.get_legend_handles_labels()[1])
    axes.set_ylim(0, axes.dataLim.y1 * (1.1 + 0.1 * entries))
    axes.legend(loc="upper right", facecolor="white", edgecolor="none", framealpha=1)


def apart(axes: Any, points: Sequence[tuple[float, float]], across: float = 0.08, up: float = 0.06) -> list[int]:
    """Positions of the points to label: those at least so far, in parts of the axes, from each labelled before."""
    axes.get_xlim(), axes.get_ylim()  # settles the limits
    places = (axes.transScale + axes.transLimits).transform(points).tolist()
    kept: list[int] = []
    for i, (x, y) in enumerate(places):
        if all(abs(x - places[j][0]) >= across or abs(y - places[j][1]) >= up for j in kept):
            kept.append(i)
    return kept


def tiled(images: Tensor, columns: int) -> Tensor:
    """Images in rows of so many, parted by white lines.

    Arguments:
        images: ``(count, height, width)`` or ``(count, channels, height, width)``, cut to [0, 1].
        columns: Of the sheet; the last row is filled up with white.

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


def show_sheet(axes: Any, images: Tensor, columns: int) -> None:
    """Draws :func:`tiled` images without ticks, grey ones in grey."""
    axes.imshow(tiled(images, columns).numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)

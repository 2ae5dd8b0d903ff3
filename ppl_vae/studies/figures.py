"""What figures of experiments share: bars with a dot per seed, courses of trainings, tables and maps of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppl_vae.evidence.figures import show_sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_bars", "draw_course", "limits_of", "show_image_table", "show_maps"]


def draw_bars(
    axes: Axes,
    values: Mapping[str, Sequence[float]],
    colours: str | Sequence[str],
    *,
    least: float = -float("inf"),
    shift: float = 0.0,
    height: float = 0.6,
    label: str | None = None,
) -> None:
    """A horizontal bar per name from zero to the mean over seeds, with a dot per seed; the first is on top.

    Arguments:
        axes: Where to draw.
        values: One value per seed, by name.
        colours: Colour of all bars, or of each.
        least: Where bars are cut, if means may fall far below what the axis shows: they are labelled with their mean.
        shift: By how much the bars lie below their names, where several series share them.
        height: Height of a bar.
        label: Name of the series in the legend.
    """
    places = [place + shift for place in range(len(values))]
    means = [sum(each) / len(each) for each in values.values()]
    axes.barh(places, [max(mean, least) for mean in means], color=colours, height=height, label=label)
    for place, mean, each in zip(places, means, values.values(), strict=True):
        if len(each) > 1:
            axes.plot(each, [place] * len(each), "k.", markersize=5)
        if mean < least:
            axes.annotate(f" {mean:.3g}", (0, place), va="center", fontsize=8)
    axes.set_yticks(range(len(values)), list(values))
    if not axes.yaxis_inverted():
        axes.invert_yaxis()


def draw_course(axes: Axes, values: Tensor, first: int = 1, *, colour: str, **style: object) -> None:
    """The course of trainings: the mean over seeds, and between which values the seeds lie.

    Arguments:
        axes: Where to draw.
        values: ``(seeds, epochs)``.
        first: Number of the first epoch.
        colour: Colour of line and band.
        style: Further arguments of ``axes.plot``.
    """
    epochs = range(first, first + values.shape[1])
    if len(values) > 1:
        axes.fill_between(epochs, values.amin(0), values.amax(0), color=colour, alpha=0.15, linewidth=0)  # type: ignore[arg-type]
    axes.plot(epochs, values.mean(0).tolist(), color=colour, **style)  # type: ignore[arg-type]


def limits_of(courses: Sequence[Tensor]) -> tuple[float, float]:
    """Limits of an axis that hold courses ``(seeds, epochs)``, but for their first tenth, where losses fall far."""
    later = torch.cat([course[:, course.shape[1] // 10 :].flatten() for course in courses])
    low, high = later.min().item(), later.max().item()
    room = 0.1 * (high - low) or 0.1
    return low - room, high + room


def show_image_table(figure: Figure, rows: Mapping[str, Sequence[Tensor]], titles: Sequence[str]) -> None:
    """A table of lines of images: a name on the left of each row, a title above each column.

    Arguments:
        figure: Where to draw.
        rows: Images ``(count, ...)`` of each column, by name; a row with fewer leaves the others empty.
        titles: Titles of the columns, above the first row that fills them.
    """
    panels = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, (name, columns) in zip(panels, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        for axes, images in zip(line, columns, strict=False):
            show_sheet(axes, images, len(images))
        for axes in line[len(columns) :]:
            axes.axis("off")
    first = next(i for i, columns in enumerate(rows.values()) if len(columns) == len(titles))
    for axes, title in zip(panels[first], titles, strict=True):
        axes.set_title(title, fontsize=9)


def show_maps(figure: Figure, maps: Mapping[str, Tensor], label: str) -> None:
    """Maps ``(height, width)`` side by side by name, with their means; orange is negative, purple positive."""
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    most = max(each.max().item() for each in maps.values())
    for axes, (name, values) in zip(panels, maps.items(), strict=True):
        image = axes.imshow(values.numpy(), cmap="PuOr", vmin=-most, vmax=most)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{name}\nmean {values.mean():.2f}", fontsize=9)
    figure.colorbar(image, ax=list(panels), label=label, shrink=0.8)

"""Figures of codes of two bits: over the plane of the data, and all their distributions as a tetrahedron."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.studies.plane import Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from mpl_toolkits.mplot3d import Axes3D

__all__ = ["CODES", "draw_codes", "draw_density", "draw_simplex", "mixed"]

CODES = {"00": OKABE_ITO.blue, "01": OKABE_ITO.orange, "10": OKABE_ITO.green, "11": OKABE_ITO.purple}
"""Colours of the codes, in the order of :func:`ppl_vae.distributions.bits.bit_states`."""


FINER = 4
"""Points drawn for each of the plane's, along a side: borders between codes are lines and not steps."""


def mixed(probabilities: Tensor) -> Tensor:
    """Returns the colours of the codes, mixed by their probabilities ``(data, 4)``, as ``(data, 3)``."""
    from matplotlib.colors import to_rgb

    palette = torch.tensor([to_rgb(colour) for colour in CODES.values()], dtype=torch.float64)
    return (probabilities.cpu().double() @ palette).clamp(0, 1)


def draw_codes(
    axes: Axes, plane: Plane, probabilities: Tensor, centres: Tensor, title: str, *, decided: bool = False
) -> None:
    """Draws the plane in the mixed colours of the codes, and the centres with their codes.

    Arguments:
        axes: Where to draw.
        plane: The plane.
        probabilities: Of all codes at each of its points, ``(points, 4)``.
        centres: One per code, ``(4, 2)``.
        title: Title of the panel.
        decided: Whether each point has the colour of its most probable code alone.
    """
    fine = _finer(plane, probabilities.cpu().double())
    if decided:
        fine = torch.nn.functional.one_hot(fine.argmax(-1), 4)
    axes.imshow(mixed(fine).transpose(0, 1).numpy(), origin="lower", extent=plane.extent, interpolation="nearest")
    for centre, code in zip(centres.cpu().tolist(), CODES, strict=True):
        axes.plot(*centre, "o", color="black", markersize=4)
        axes.annotate(code, centre, (4, 3), textcoords="offset points", fontsize=8)
    axes.set_title(title, fontsize=9)
    label_plane(axes)


def _finer(plane: Plane, probabilities: Tensor) -> Tensor:
    """Probabilities of the codes at more points, ``(FINER * rows, FINER * columns, 4)``, by interpolated log-odds."""
    table = probabilities.clamp(min=1e-30).log().T.reshape(1, 4, *plane.shape)
    return torch.nn.functional.interpolate(table, scale_factor=FINER, mode="bilinear")[0].movedim(0, -1).softmax(-1)


def draw_density(axes: Axes, plane: Plane, density: Tensor, top: float, title: str) -> AxesImage:
    """Draws a density at the points of the plane, ``(points,)``, from 0 to a number; returns it for a colour bar."""
    image = density.reshape(plane.shape).T.clamp(min=0)
    axes.set_title(title, fontsize=9)
    style: dict[str, Any] = {"origin": "lower", "cmap": "cividis", "vmin": 0, "vmax": top, "interpolation": "bilinear"}
    drawn = axes.imshow(image.numpy(), extent=plane.extent, **style)
    label_plane(axes)
    return drawn


def label_plane(axes: Axes) -> None:
    ticks = (-4, 0, 4)
    axes.set(xlim=(-4.5, 4.5), ylim=(-5.5, 5.5), xticks=ticks, yticks=ticks, xlabel="$x_1$", ylabel="$x_2$")


def draw_simplex(axes: Axes3D) -> None:
    """Draws all distributions of two bits as a tetrahedron in 3D axes, and the factorised ones as a surface in it."""
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    side = torch.linspace(0, 1, 25)
    first, second = torch.meshgrid(side, side, indexing="ij")
    parts = torch.stack([(1 - first) * (1 - second), (1 - first) * second, first * (1 - second), first * second], -1)
    surface = parts @ corners
    colours = mixed(parts.reshape(-1, 4)).reshape(25, 25, 3)
    axes.computed_zorder = False  # edges are seen through the surface
    axes.plot_surface(*surface.unbind(-1), facecolors=colours.numpy(), shade=False, rcount=25, ccount=25)
    for i in range(4):
        for j in range(i):
            both = i + j == 3  # 00-11 and 01-10 flip both bits
            ends = corners[[i, j]].T
            axes.plot(*ends, color="black", linewidth=1, linestyle=":" if both else "-")
    for corner, code in zip(corners.tolist(), CODES, strict=True):
        place = (1.45 if code == "00" else 1.15) * torch.tensor(corner)  # that corner points at the reader
        axes.text(*place.tolist(), code, ha="center", fontsize=9)
    axes.set_title(
        "(f) all distributions of two bits, factorised ones\nas a surface; dotted edges flip both bits", fontsize=9
    )
    axes.set_axis_off()
    axes.view_init(22, 60)

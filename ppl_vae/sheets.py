"""Pictures side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["show_sheet", "tiled"]


def tiled(pictures: Tensor, columns: int) -> Tensor:
    """Pictures in rows of so many, parted by white lines.

    Arguments:
        pictures: ``(count, height, width)`` or ``(count, channels, height, width)``, cut to [0, 1].
        columns: Of the sheet; the last row is filled up with white.

    Returns:
        ``(rows * (height + 2), columns * (width + 2))``, of three colours with them last.

    Example:
        >>> tiled(torch.rand(5, 3, 8, 8), 4).shape
        torch.Size([20, 40, 3])
    """
    if pictures.ndim == 4 and pictures.shape[1] == 1:
        pictures = pictures[:, 0]
    framed = torch.nn.functional.pad(pictures.detach().cpu().clamp(0, 1), (1, 1, 1, 1), value=1.0)
    missing = -len(framed) % columns
    framed = torch.cat([framed, framed.new_ones(missing, *framed.shape[1:])])
    rows = torch.cat([torch.cat(list(row), -1) for row in framed.split(columns)], -2)
    return rows.movedim(0, -1) if rows.ndim == 3 else rows


def show_sheet(axes: Any, pictures: Tensor, columns: int) -> None:
    """Draws :func:`tiled` pictures without ticks, grey ones in grey."""
    axes.imshow(tiled(pictures, columns).numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)

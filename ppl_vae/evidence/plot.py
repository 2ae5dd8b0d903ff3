"""Figures of results: drawn by the same functions for files, for Python and for notebooks."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from ppl_vae.evidence.figures import fit_title

__all__ = ["Plot", "plot"]

RESOLUTION = 110
"""Dots per inch in a notebook."""


class Plot(Figure):
    """A figure that is its own picture in a notebook, whether pyplot is in use or not."""

    def image(self, kind: str, resolution: float, **options: Any) -> bytes:  # of the writer of that kind
        """The content of a file of this kind, ``"png"`` or ``"pdf"``."""
        content = io.BytesIO()
        # The layout forgets the titles of panels of fixed aspect; the page grows by what would be cut off.
        self.savefig(content, format=kind, dpi=resolution, bbox_inches="tight", pad_inches=0.05, **options)
        return content.getvalue()

    def _repr_png_(self) -> bytes:
        return self.image("png", RESOLUTION)


def plot(draw: Callable[[Figure], None], size: tuple[float, float]) -> Plot:
    """A figure of this size in inches, drawn by a function, its title broken where it is too long."""
    figure = Plot(figsize=size, layout="constrained")
    draw(figure)
    fit_title(figure)
    return figure

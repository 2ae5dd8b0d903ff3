"""What has a figure: drawn into one that is given, or as a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ppl_vae.evidence.plot import Plot

__all__ = ["Drawable"]


class Drawable:
    """A result with a figure."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure in inches."""
        return 9, 3.8

    def draw(self, figure: Figure, title: str) -> None:
        """Draws the result into a figure, under a title."""
        raise NotImplementedError

    def plot(self, title: str = "") -> Plot:
        """The figure that the command line stores, with this title: a matplotlib figure, shown by a notebook.

        Example:
            >>> result.plot().savefig("gap.pdf")  # doctest: +SKIP
        """
        from ppl_vae.evidence.plot import plot

        return plot(lambda figure: self.draw(figure, title), self.size)

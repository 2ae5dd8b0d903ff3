"""The plane of rate and distortion: its points, their hull, and four regimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["REGIMES", "Point", "hull", "regimes"]

REGIMES = {
    "auto-decoder": (0.0, "R below H/20"),
    "semantic encoder": (1 / 20, "R from H/20 to H/2"),
    "syntactic encoder": (1 / 2, "R from H/2 to 3 H/4"),
    "auto-encoder": (3 / 4, "R from 3 H/4"),
}
"""The four regimes of Alemi et al. (2018, section 4.2), which names them by examples: from which share of the entropy
the rate is, and that in words. Where a bound is tight, D = H - R says the same of the distortion."""


@dataclass(frozen=True)
class Point:
    """A trained pair on the plane.

    Arguments:
        family: Of models and guides.
        at: Where on the grid of the sweep.
        beta: The weight of the rate it was trained at.
        seed: Of its training.
        values: What was measured of it, as :func:`ppl_vae.cells.measured_cell` gives it.
    """

    family: str
    at: Mapping[str, Any]
    beta: float
    seed: int
    values: Mapping[str, Tensor]

    def __getitem__(self, key: str) -> float:
        return self.values[key].item()

    @property
    def rate(self) -> float:
        return self["rate"]

    @property
    def distortion(self) -> float:
        return self["distortion"]

    @property
    def bound(self) -> float:
        """-ELBO, an upper bound of the entropy of the data."""
        return -self["elbo"]

    @property
    def words(self) -> str:
        """Where on the grid, in words."""
        return ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in self.at.items()
        )


def hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lower left of the convex hull of points (R, D), from the lowest rate to the lowest distortion.

    Mixing encoders and decoders of two points, by a coin that both know, reaches every point between them.

    Example:
        >>> hull([(0, 4), (1, 3), (1, 1), (2, 0.9), (3, 0), (4, 2)])
        [(0, 4), (1, 1), (3, 0)]
    """
    found: list[tuple[float, float]] = []
    for r, d in sorted(points):
        if found and d >= found[-1][1]:
            continue
        while len(found) > 1:
            (r0, d0), (r1, d1) = found[-2:]
            if (r1 - r0) * (d - d0) > (r - r0) * (d1 - d0):
                break
            found.pop()
        found.append((r, d))
    return found


def regimes(points: Sequence[Point], entropy: float) -> dict[str, Point]:
    """Of each regime that has a run the one with the best bound, by the rules of :data:`REGIMES`.

    Arguments:
        points: All runs.
        entropy: The best bound on it, H, positive.
    """

    def regime(point: Point) -> str:
        return [name for name, (share, _) in REGIMES.items() if max(point.rate, 0.0) >= share * entropy][-1]

    found: dict[str, Point] = {}
    for point in sorted(points, key=lambda point: point.bound):
        found.setdefault(regime(point), point)
    return {name: found[name] for name in REGIMES if name in found}

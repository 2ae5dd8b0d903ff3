r"""Tests of uniformity by the distance of empirical distribution functions from the diagonal, exact in finite samples.

The counts :math:`c_i = \#\{u \le z_i\}` of n independent uniform numbers are binomial with probabilities
:math:`z_i = i / 100`. The statistic is the smallest of their two-sided tail probabilities (Säilynoja, Bürkner and
Vehtari 2022, section 2.2),

.. math:: \gamma = \min_i \, 2 \min\{P(B_i \le c_i),\; P(B_i \ge c_i)\}, \qquad B_i \sim \mathrm{Bin}(n, z_i),

and its p-value the probability that any of 99 counts of uniform numbers lies as far out. All counts stay inside a band
with a probability that is a sum over paths: the counts are those of a Poisson process, given that it has n points.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["POINTS", "Uniformity", "uniformity"]

CELLS = 100
"""Number of intervals of equal length."""

POINTS = np.arange(1, CELLS) / CELLS
"""Where distribution functions are compared with the diagonal."""

UNSURE = 1e-9
"""p-values below which the rounding of the sum over paths shows; the bound of Bonferroni, 99 gamma, stands in."""

Numbers = NDArray[np.float64]


class Uniformity:
    """The test for a number of values.

    Arguments:
        count: Number of values, n.

    Example:
        >>> test = Uniformity(1000)
        >>> even = (np.arange(1000) + 0.5) / 1000
        >>> round(test.p_value(even), 3), test.p_value(even**1.3) < 1e-6
        (1.0, True)
    """

    def __init__(self, count: int) -> None:
        from scipy.stats import binom, poisson

        self.count = count
        counts = np.arange(count + 1)
        below = binom.cdf(counts, count, POINTS[:, None])
        above = binom.sf(counts - 1, count, POINTS[:, None])
        self.tails: Numbers = 2 * np.minimum(below, above)
        """Two-sided tail probability of each count at each point, ``(points, count + 1)``."""
        mean = count / CELLS
        self.steps: Numbers = poisson.pmf(np.arange(min(count, int(mean + 12 * mean**0.5 + 25)) + 1), mean)
        self.whole = float(poisson.pmf(count, count))

    @staticmethod
    def counts(values: Numbers) -> NDArray[np.int64]:
        """Number of values up to each point, ``(points,)``."""
        return np.searchsorted(np.sort(values), POINTS, side="right")

    def p_value(self, values: Numbers) -> float:
        """The p-value of values ``(count,)`` in the unit interval being independent and uniform."""
        gamma = float(self.tails[np.arange(len(POINTS)), self.counts(values)].min())
        p = 1 - self.coverage(gamma)
        return p if p > UNSURE else min(len(POINTS) * gamma, UNSURE)

    def coverage(self, gamma: float) -> float:
        """Probability that every count of uniform numbers has a tail probability above gamma."""
        low, paths = 0, np.ones(1)  # probabilities of the Poisson process staying inside and having low + i points
        if not self._inside(gamma).any(1).all():
            return 0.0
        for lowest, highest in zip(*self._limits(gamma), strict=True):
            start = max(lowest, low)
            paths = np.convolve(paths, self.steps)[start - low : highest - low + 1]
            low = start
        last = self.count - low - np.arange(len(paths))
        inside = last < len(self.steps)
        return min(1.0, float(paths[inside] @ self.steps[last[inside]]) / self.whole)

    def _inside(self, gamma: float) -> NDArray[np.bool_]:
        """Whether a count lies inside, at each point; counts whose tails are equal but for rounding do together."""
        return self.tails > gamma * (1 + 1e-9)

    def _limits(self, gamma: float) -> tuple[list[int], list[int]]:
        """Smallest and largest count inside, at each point."""
        inside = self._inside(gamma)
        return inside.argmax(1).tolist(), (self.count - inside[:, ::-1].argmax(1)).tolist()

    def band(self, level: float) -> tuple[Numbers, Numbers]:
        """Smallest and largest share of values up to each point that pass at a level, ``(points,)`` each."""
        low, high = 1e-12, level
        for _ in range(40):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if 1 - self.coverage(middle) <= level else (low, middle)
        lowest, highest = self._limits(low)
        return np.array(lowest) / self.count, np.array(highest) / self.count


@lru_cache(maxsize=4)
def uniformity(count: int) -> Uniformity:
    """The test for a number of values, computed once."""
    return Uniformity(count)

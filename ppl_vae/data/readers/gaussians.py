"""Points of four Gaussians in the plane, whose density is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source
from ppl_vae.data.synthetic import SEED, SIZE, fixed_sample

__all__ = ["FOUR_GAUSSIANS", "READER", "gaussians_log_density"]

FOUR_GAUSSIANS = ((-0.61, 0.13), (0.80, 0.08), (0.34, -2.55), (0.16, 2.62))
"""Centres of four Gaussians of scale 1 in the plane, in the order of the codes 00, 01, 10, 11.

Schlesinger, Shekhovtsov and Flach (2021) do not print the centres of their section 4.1. These were found by a search
for centres with which all four figures of that section come out.
"""


def read_gaussians(cache: Path | None = None) -> Source:
    r"""Draws points of four Gaussians in the plane, :math:`p(x) = \frac14 \sum_k N(x; \mu_k, I)`, always the same ones.

    The centres are :data:`FOUR_GAUSSIANS`; a label is the component that a point was drawn from.

    Example:
        >>> read_gaussians().splits["train"].values.shape
        (10000, 2)
    """
    rng = np.random.default_rng(SEED)
    components = rng.integers(4, size=SIZE)
    points = np.array(FOUR_GAUSSIANS)[components] + rng.standard_normal((SIZE, 2))
    return fixed_sample(points, components, ("00", "01", "10", "11"))


def gaussians_log_density(points: np.ndarray) -> np.ndarray:
    """Log-density of points ``(data, 2)`` under :func:`read_gaussians`, ``(data,)``, in nats."""
    from scipy.special import logsumexp

    squares = ((points[:, None] - np.array(FOUR_GAUSSIANS)) ** 2).sum(-1)
    return np.asarray(logsumexp(-squares / 2, axis=1) - np.log(4 * 2 * np.pi))


READER = Reader(
    "gaussians",
    "points drawn from four Gaussians in the plane, (2,); needs no network",
    Tensor,
    read_gaussians,
    log_density=gaussians_log_density,
)

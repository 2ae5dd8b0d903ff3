"""Points near a curve in the plane with three sizes of noise, whose density is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source
from ppl_vae.data.synthetic import SEED, SIZE, fixed_sample

__all__ = ["READER", "curve_log_density", "curve_points"]

CURVE_REACH = 2.5
"""How far the curve goes to either side."""

CURVE_NOISE = (0.024, 0.006, 0.06)
"""Deviation around the curve in its first, second and last third."""


def curve_points(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Points near a curve in the plane with moderate, small and large noise, ``(count, 2)``, and the third of each.

    .. math:: x = \bigl(\tfrac52 t,\, \cos \pi t + \tfrac15 \sin 4 \pi t\bigr) + s_t\, \epsilon, \qquad
        t \sim \mathrm{U}(-1, 1)

    After the artificial data of Berger and Sebag (2020, figure 3), which prints neither the curve nor its noise: both
    are ours. The reach is such that a decoder with sigma = 1 ends near the paper's bound, and the noise such that a
    learned sigma ends near the paper's 0.043.
    """
    rng = np.random.default_rng(seed)
    t = rng.uniform(-1, 1, count)
    third = np.minimum((1.5 * (t + 1)).astype(int), 2)
    noise = np.array(CURVE_NOISE)[third, None] * rng.standard_normal((count, 2))
    return _curve(t) + noise, third


def _curve(t: np.ndarray) -> np.ndarray:
    return np.stack([CURVE_REACH * t, np.cos(np.pi * t) + np.sin(4 * np.pi * t) / 5], -1)


def curve_log_density(x: np.ndarray, nodes: int = 6_000) -> np.ndarray:
    """The log-density of :func:`curve_points` at points of the plane, ``(points,)``, in nats, by the midpoint rule.

    The nodes lie a third of the smallest deviation apart at most, where the rule is exact to rounding but for the
    borders of the thirds.
    """
    from scipy.special import logsumexp

    t = (np.arange(nodes) + 0.5) * 2 / nodes - 1
    scale = np.array(CURVE_NOISE)[np.minimum((1.5 * (t + 1)).astype(int), 2)]
    centre, blocks = _curve(t), []
    for part in np.array_split(x, max(1, len(x) // 500)):
        squares = ((part[:, None] - centre) ** 2).sum(-1)
        blocks.append(logsumexp(-squares / (2 * scale**2) - 2 * np.log(scale), axis=1))
    density: np.ndarray = np.concatenate(blocks) - np.log(2 * np.pi * nodes)
    return density


def read_manifold(cache: Path | None = None) -> Source:
    """Draws points near a curve in the plane, always the same ones; see :func:`curve_points`.

    Example:
        >>> read_manifold().splits["train"].values.shape
        (10000, 2)
    """
    return fixed_sample(*curve_points(SIZE, SEED), ("moderate noise", "small noise", "large noise"))


READER = Reader(
    "manifold",
    "points near a curve in the plane with three sizes of noise, (2,); needs no network",
    Tensor,
    read_manifold,
    log_density=curve_log_density,
)

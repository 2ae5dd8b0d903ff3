"""Data drawn from laws that are known: what a model of them can reach at best is known too."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from ppl_vae.corpora.raw import Arrays, RawArrays

__all__ = ["FOUR_GAUSSIANS", "bars", "curve_log_density", "curve_points", "gaussians", "manifold"]

FOUR_GAUSSIANS = ((-0.61, 0.13), (0.80, 0.08), (0.34, -2.55), (0.16, 2.62))
"""Centres of four Gaussians of scale 1 in the plane, in the order of the codes 00, 01, 10, 11.

Schlesinger, Shekhovtsov and Flach (2021) do not print the centres of their section 4.1. These were found by a search
for centres with which all four figures of that section come out.
"""

_TRAIN, _TEST = 10_000, 2_000
_SEED = 20_210_517


def gaussians() -> RawArrays:
    r"""Points of four Gaussians in the plane, :math:`p(x) = \frac14 \sum_k N(x; \mu_k, I)`, always the same ones.

    The centres are :data:`FOUR_GAUSSIANS`; a label is the component that a point was drawn from.

    Example:
        >>> gaussians().splits["train"].values.shape
        (10000, 2)
    """
    rng = np.random.default_rng(_SEED)
    components = rng.integers(4, size=_TRAIN + _TEST)
    points = np.array(FOUR_GAUSSIANS)[components] + rng.standard_normal((_TRAIN + _TEST, 2))
    return _split(points, components, ("00", "01", "10", "11"))


def bars() -> RawArrays:
    r"""Bars and stripes: 4 x 4 binary pictures, flat, in which rows or columns are switched on; always the same ones.

    A fair coin chooses between rows (label 0) and columns (1), and four more say which of them are on (MacKay 2003,
    chapter 43). Of the 30 pictures the empty and the full one have probability 1/16, the others 1/32, so that the
    mean log-likelihood of a model comes to at most :math:`-(\frac18 \log 16 + \frac78 \log 32) = -3.379` nats.

    Example:
        >>> len(np.unique(bars().splits["train"].values, axis=0))
        30
    """
    rng = np.random.default_rng(_SEED)
    columns = rng.integers(2, size=_TRAIN + _TEST)
    on = rng.integers(2, size=(_TRAIN + _TEST, 1, 4)) * np.ones((1, 4, 1))
    pictures = np.where(columns[:, None, None] == 1, on, on.transpose(0, 2, 1))
    return _split(pictures.reshape(-1, 16), columns, ("rows", "columns"))


CURVE_NOISE = (0.056, 0.014, 0.14)
"""Deviation around the curve in its first, second and last third."""


def curve_points(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Points near a curve in the plane with moderate, small and large noise, ``(count, 2)``, and the third of each.

    .. math:: x = \bigl(t,\, \cos \pi t + \tfrac15 \sin 4 \pi t\bigr) + s_t\, \epsilon, \qquad
        t \sim \mathrm{U}(-1, 1)

    After the artificial data of Berger and Sebag (2020, figure 3), which prints neither curve nor noise: the ratios
    of :data:`CURVE_NOISE` are ours, their size such that a learned scalar sigma comes near the paper's 0.043.
    """
    rng = np.random.default_rng(seed)
    t = rng.uniform(-1, 1, count)
    third = np.minimum((1.5 * (t + 1)).astype(int), 2)
    noise = np.array(CURVE_NOISE)[third, None] * rng.standard_normal((count, 2))
    return _curve(t) + noise, third


def _curve(t: np.ndarray) -> np.ndarray:
    return np.stack([t, np.cos(np.pi * t) + np.sin(4 * np.pi * t) / 5], -1)


def curve_log_density(x: np.ndarray, nodes: int = 6_000) -> np.ndarray:
    """The log-density of :func:`curve_points` at points of the plane, ``(points,)``, in nats, by the midpoint rule.

    The nodes lie a third of the smallest deviation apart at most, where the rule is exact to rounding but for the
    borders of the thirds.
    """
    t = (np.arange(nodes) + 0.5) * 2 / nodes - 1
    scale = np.array(CURVE_NOISE)[np.minimum((1.5 * (t + 1)).astype(int), 2)]
    centre, blocks = _curve(t), []
    for part in np.array_split(x, max(1, len(x) // 500)):
        squares = ((part[:, None] - centre) ** 2).sum(-1)
        blocks.append(logsumexp(-squares / (2 * scale**2) - 2 * np.log(scale), axis=1))
    density: np.ndarray = np.concatenate(blocks) - np.log(2 * np.pi * nodes)
    return density


def manifold() -> RawArrays:
    """Points near a curve in the plane, always the same ones; see :func:`curve_points`.

    Example:
        >>> manifold().splits["train"].values.shape
        (10000, 2)
    """
    return _split(*curve_points(_TRAIN + _TEST, _SEED), ("moderate noise", "small noise", "large noise"))


def _split(values: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> RawArrays:
    whole = Arrays(values.astype(np.float32), labels.astype(np.int64))
    rows = np.arange(len(whole))
    return RawArrays({"train": whole.take(rows[:_TRAIN]), "test": whole.take(rows[_TRAIN:])}, names)

"""Data drawn from laws that are known: what a model of them can reach at best is known too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from ppl_vae.data.source import Source, SourceSplit

__all__ = [
    "CHANNEL_LEVELS",
    "FOUR_GAUSSIANS",
    "LAWS",
    "bars",
    "channel",
    "channel_law",
    "curve_log_density",
    "curve_points",
    "gaussians",
    "gaussians_log_density",
    "manifold",
    "rectangle_log_density",
    "rectangles",
    "sphere",
]

FOUR_GAUSSIANS = ((-0.61, 0.13), (0.80, 0.08), (0.34, -2.55), (0.16, 2.62))
"""Centres of four Gaussians of scale 1 in the plane, in the order of the codes 00, 01, 10, 11.

Schlesinger, Shekhovtsov and Flach (2021) do not print the centres of their section 4.1. These were found by a search
for centres with which all four figures of that section come out.
"""

CHANNEL_LEVELS = np.linspace(-3, 3, 30)
"""What :func:`channel` discretises a number to."""

FLIP = 0.02
"""Of a pixel of :func:`rectangles`."""

_TRAIN, _TEST = 10_000, 2_000

_SEED = 20_210_517


def gaussians() -> Source:
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


def gaussians_log_density(points: np.ndarray) -> np.ndarray:
    """Log-density of points ``(data, 2)`` under the law of :func:`gaussians`, ``(data,)``, in nats."""
    squares = ((points[:, None] - np.array(FOUR_GAUSSIANS)) ** 2).sum(-1)
    return np.asarray(logsumexp(-squares / 2, axis=1) - np.log(4 * 2 * np.pi))


def bars() -> Source:
    r"""Bars and stripes: 4 x 4 binary images, flat, in which rows or columns are switched on; always the same ones.

    A fair coin chooses between rows (label 0) and columns (1), and four more say which of them are on (MacKay 2003,
    chapter 43). Of the 30 images the empty and the full one have probability 1/16, the others 1/32, so that the
    mean log-likelihood of a model comes to at most :math:`-(\frac18 \log 16 + \frac78 \log 32) = -3.379` nats.

    Example:
        >>> len(np.unique(bars().splits["train"].values, axis=0))
        30
    """
    rng = np.random.default_rng(_SEED)
    columns = rng.integers(2, size=_TRAIN + _TEST)
    on = rng.integers(2, size=(_TRAIN + _TEST, 1, 4)) * np.ones((1, 4, 1))
    images = np.where(columns[:, None, None] == 1, on, on.transpose(0, 2, 1))
    return _split(images.reshape(-1, 16), columns, ("rows", "columns"))


def rectangles() -> Source:
    r"""Rectangles, 10 x 10 binary images of which each pixel is flipped with probability 1/50; always the same ones.

    All 55 x 55 rectangles are equally probable. By :func:`rectangle_log_density` the test images have a mean
    log-probability of -17.71 nats, which is what a perfect model would reach.
    """
    rng = np.random.default_rng(_SEED)
    images = _rectangles()[rng.integers(55 * 55, size=_TRAIN + _TEST)]
    flipped = images != (rng.random(images.shape) < FLIP)
    return _split(flipped, None, ())


def rectangle_log_density(images: np.ndarray) -> np.ndarray:
    """Log-probability of images ``(data, 10, 10)`` under the law of :func:`rectangles`, ``(data,)``, in nats."""
    states, x = _rectangles().reshape(-1, 100).astype(float), images.reshape(-1, 100).astype(float)
    wrong = x.sum(1)[:, None] + states.sum(1) - 2 * x @ states.T
    each = wrong * np.log(FLIP) + (100 - wrong) * np.log1p(-FLIP)
    return np.asarray(logsumexp(each, axis=1) - np.log(len(states)))


def _rectangles() -> np.ndarray:
    """All there are, ``(55 * 55, 10, 10)``."""
    first, last = np.triu_indices(10)
    place = np.arange(10)
    inside = (place >= first[:, None]) & (place <= last[:, None])
    return np.asarray(inside[:, None, :, None] & inside[None, :, None, :]).reshape(-1, 10, 10)


def channel_law(information: float = 0.5) -> np.ndarray:
    r"""The joint law of a bit and the level it is sent as, :math:`p^*(z, x)`, ``(2, 30)``.

    .. math:: z \sim \mathrm{Bernoulli}(0.7), \qquad
        p^*(x = k \mid z) \propto \exp\bigl(-(t_k - (2 z - 1))^2 / 2 \sigma^2\bigr)

    with levels t from -3 to 3 and the noise at which I(x; z) is as large as told: a toy process in the manner of Alemi
    et al. (2018). Its posterior is a logistic function of the level.

    Arguments:
        information: I(x; z) in nats, between 0 and the bit's entropy, 0.611.

    Raises:
        ValueError: If it is out of range.

    Example:
        >>> law = channel_law()
        >>> law.sum(1).round(6).tolist()
        [0.3, 0.7]
        >>> both = law.sum(0) * law.sum(1, keepdims=True)
        >>> round((law * np.log(law / both)).sum().item(), 6)
        0.5
    """
    if not 0.01 < information < 0.61:
        raise ValueError(f"the information must lie between 0.01 and 0.61 nats, got {information:g}")

    def law(noise: float) -> np.ndarray:
        given = np.exp(-((CHANNEL_LEVELS - np.array([[-1.0], [1.0]])) ** 2) / (2 * noise**2))
        joint: np.ndarray = np.array([[0.3], [0.7]]) * given / given.sum(1, keepdims=True)
        return joint

    def excess(noise: float) -> float:
        joint = law(noise)
        ratio = joint / (joint.sum(0) * joint.sum(1, keepdims=True))
        return float((joint * np.log(ratio)).sum()) - information

    return law(float(brentq(excess, 0.2, 10.0, xtol=1e-14)))


def channel() -> Source:
    """Levels drawn from :func:`channel_law`, one-hot, always the same ones; a label is the bit that was sent.

    Example:
        >>> channel().splits["train"].values.sum(1).max().item()
        1.0
    """
    rng = np.random.default_rng(_SEED)
    joint = channel_law()
    cells = rng.choice(joint.size, size=_TRAIN + _TEST, p=joint.ravel())
    bits, levels = np.divmod(cells, joint.shape[1])
    return _split(np.eye(joint.shape[1])[levels], bits, ("0", "1"))


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
    t = (np.arange(nodes) + 0.5) * 2 / nodes - 1
    scale = np.array(CURVE_NOISE)[np.minimum((1.5 * (t + 1)).astype(int), 2)]
    centre, blocks = _curve(t), []
    for part in np.array_split(x, max(1, len(x) // 500)):
        squares = ((part[:, None] - centre) ** 2).sum(-1)
        blocks.append(logsumexp(-squares / (2 * scale**2) - 2 * np.log(scale), axis=1))
    density: np.ndarray = np.concatenate(blocks) - np.log(2 * np.pi * nodes)
    return density


def manifold() -> Source:
    """Points near a curve in the plane, always the same ones; see :func:`curve_points`.

    Example:
        >>> manifold().splits["train"].values.shape
        (10000, 2)
    """
    return _split(*curve_points(_TRAIN + _TEST, _SEED), ("moderate noise", "small noise", "large noise"))


def sphere(dimensions: int) -> Source:
    r"""Points uniform on the unit sphere of a space of so many dimensions, always the same ones.

    What a decoder with normal noise of a given scale can reach on them is known exactly
    (:func:`ppl_vae.studies.spheres.best_evidence`), and is the same for every point.

    Example:
        >>> points = sphere(3).splits["test"].values
        >>> points.shape, bool(np.allclose((points**2).sum(1), 1))
        ((2000, 3), True)
    """
    points = np.random.default_rng(_SEED).standard_normal((_TRAIN + _TEST, dimensions))
    points /= np.sqrt((points**2).sum(1, keepdims=True))
    return _split(points, None, ())


def _split(values: np.ndarray, labels: np.ndarray | None, names: tuple[str, ...]) -> Source:
    whole = SourceSplit(values.astype(np.float32), None if labels is None else labels.astype(np.int64))
    rows = np.arange(len(whole))
    return Source({"train": whole.take(rows[:_TRAIN]), "test": whole.take(rows[_TRAIN:])}, label_names=names)


LAWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gaussians": gaussians_log_density,
    "manifold": curve_log_density,
    "rectangles": rectangle_log_density,
}
"""Log-densities of data of a corpus under the law they were drawn from, where it has a density that is known."""

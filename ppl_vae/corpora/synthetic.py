"""Data drawn from laws that are known: what a model of them can reach at best is known too."""

from __future__ import annotations

import numpy as np

from ppl_vae.corpora.raw import Arrays, RawArrays

__all__ = ["FOUR_GAUSSIANS", "bars", "gaussians", "sphere"]

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


def sphere(dimensions: int) -> RawArrays:
    r"""Points uniform on the unit sphere of a space of so many dimensions, always the same ones.

    What a decoder with normal noise of a given scale can reach on them is known exactly
    (:func:`ppl_vae.spheres.best_evidence`), and is the same for every point.

    Example:
        >>> points = sphere(3).splits["test"].values
        >>> points.shape, bool(np.allclose((points**2).sum(1), 1))
        ((2000, 3), True)
    """
    points = np.random.default_rng(_SEED).standard_normal((_TRAIN + _TEST, dimensions))
    points /= np.sqrt((points**2).sum(1, keepdims=True))
    return _split(points, None, ())


def _split(values: np.ndarray, labels: np.ndarray | None, names: tuple[str, ...]) -> RawArrays:
    whole = Arrays(values.astype(np.float32), None if labels is None else labels.astype(np.int64))
    rows = np.arange(len(whole))
    return RawArrays({"train": whole.take(rows[:_TRAIN]), "test": whole.take(rows[_TRAIN:])}, names)

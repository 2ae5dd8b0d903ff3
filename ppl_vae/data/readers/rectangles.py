"""Rectangles with flipped pixels, whose probability is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source
from ppl_vae.data.synthetic import SEED, SIZE, fixed_sample

__all__ = ["READER", "rectangle_log_density"]

FLIP = 0.02
"""Probability that a pixel is flipped."""


def read_rectangles(cache: Path | None = None) -> Source:
    r"""Draws rectangles, 10 x 10 binary images of which each pixel is flipped with probability 1/50.

    They are always the same ones, and all 55 x 55 rectangles are equally probable. By :func:`rectangle_log_density` the
    test images have a mean log-probability of -17.71 nats, which is what a perfect model would reach.
    """
    rng = np.random.default_rng(SEED)
    images = _rectangles()[rng.integers(55 * 55, size=SIZE)]
    flipped = images != (rng.random(images.shape) < FLIP)
    return fixed_sample(flipped)


def rectangle_log_density(images: np.ndarray) -> np.ndarray:
    """Log-probability of images ``(data, 10, 10)`` under :func:`read_rectangles`, ``(data,)``, in nats."""
    from scipy.special import logsumexp

    states, x = _rectangles().reshape(-1, 100).astype(float), images.reshape(-1, 100).astype(float)
    wrong = x.sum(1)[:, None] + states.sum(1) - 2 * x @ states.T
    each = wrong * np.log(FLIP) + (100 - wrong) * np.log1p(-FLIP)
    return np.asarray(logsumexp(each, axis=1) - np.log(len(states)))


def _rectangles() -> np.ndarray:
    """All rectangles, ``(55 * 55, 10, 10)``."""
    first, last = np.triu_indices(10)
    place = np.arange(10)
    inside = (place >= first[:, None]) & (place <= last[:, None])
    return np.asarray(inside[:, None, :, None] & inside[None, :, None, :]).reshape(-1, 10, 10)


READER = Reader(
    "rectangles",
    "rectangles with a fiftieth of all pixels flipped, binary images, (10, 10); needs no network",
    Tensor,
    read_rectangles,
    log_density=rectangle_log_density,
)

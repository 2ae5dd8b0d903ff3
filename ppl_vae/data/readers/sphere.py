"""Points uniform on the unit sphere, on which the best evidence is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source
from ppl_vae.data.synthetic import SEED, SIZE, fixed_sample

__all__ = ["READERS", "sphere"]


def sphere(dimensions: int) -> Source:
    r"""Points uniform on the unit sphere of a space of some dimensions, always the same ones.

    What a decoder with normal noise of a given scale can reach on them is known exactly
    (:func:`ppl_vae.studies.spheres.best_evidence`), and is the same for every point.

    Example:
        >>> points = sphere(3).splits["test"].values
        >>> points.shape, bool(np.allclose((points**2).sum(1), 1))
        ((2000, 3), True)
    """
    points = np.random.default_rng(SEED).standard_normal((SIZE, dimensions))
    points /= np.sqrt((points**2).sum(1, keepdims=True))
    return fixed_sample(points)


def _reader(name: str, line: str, dimensions: int) -> Reader:
    def read(cache: Path | None) -> Source:
        return sphere(dimensions)

    return Reader(name, line, Tensor, read)


READERS = (
    _reader("sphere", "points uniform on the unit sphere in space, (3,); needs no network", 3),
    _reader("sphere2", "the same on a circle, (2,); needs no network", 2),
    _reader("sphere10", "the same in ten dimensions, (10,); needs no network", 10),
    _reader("sphere50", "the same in fifty dimensions, (50,); needs no network", 50),
)

"""Bars and stripes, 4 x 4 binary images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source
from ppl_vae.data.synthetic import SEED, SIZE, fixed_sample

__all__ = ["READER"]


def read_bars(cache: Path | None = None) -> Source:
    r"""Draws bars and stripes: 4 x 4 binary images, flat, in which rows or columns are on; always the same ones.

    A fair coin chooses between rows (label 0) and columns (1), and four more say which of them are on (MacKay 2003,
    chapter 43). Of the 30 images the empty and the full one have probability 1/16, the others 1/32, so that the
    mean log-likelihood of a model is at most :math:`-(\frac18 \log 16 + \frac78 \log 32) = -3.379` nats.

    Example:
        >>> len(np.unique(read_bars().splits["train"].values, axis=0))
        30
    """
    rng = np.random.default_rng(SEED)
    columns = rng.integers(2, size=SIZE)
    on = rng.integers(2, size=(SIZE, 1, 4)) * np.ones((1, 4, 1))
    images = np.where(columns[:, None, None] == 1, on, on.transpose(0, 2, 1))
    return fixed_sample(images.reshape(-1, 16), columns, ("rows", "columns"))


READER = Reader("bars", "bars and stripes, 4 x 4 binary images, (16,); needs no network", Tensor, read_bars)

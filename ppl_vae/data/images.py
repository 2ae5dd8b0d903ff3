"""Images as tensors: their shapes and units."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.data.passes import extremes
from ppl_vae.data.source import Source

__all__ = ["bits_per_number", "constant", "dequantised", "image_shape", "pixels", "prepared"]

_THRESHOLD = re.compile(r"0?\.[0-9]+")

_BLOCK = 1_000
"""Number of images that noise is added to at once: a folder of images may fill half the memory."""


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width of a datum ``(height, width)`` or ``(channels, height, width)``.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> image_shape((28, 28)), image_shape((3, 64, 48))
        ((1, 28, 28), (3, 64, 48))
    """
    if len(shape) not in (2, 3):
        raise ValueError(
            f"convolutions read images (height, width) or (channels, height, width), but a datum has shape "
            f"{tuple(shape)}; take such data (--corpus mnist, or a folder of images), or another model and guide"
        )
    channels, height, width = (1, *shape) if len(shape) == 2 else shape
    return channels, height, width


def constant(x: Tensor) -> Tensor:
    """Which numbers are the same in all data, ``shape``.

    Example:
        >>> import torch
        >>> constant(torch.tensor([[0.0, 1.0], [0.0, 2.0]]))
        tensor([ True, False])
    """
    low, high = extremes(x)
    return low == high


def bits_per_number(nats: float, numbers: int, levels: int = 256) -> float:
    r"""The length of a code for bytes, in bits a number, from a log-density of the same data scaled to [0, 1].

    .. math:: \frac{-\log p(x) + n \log 256}{n \log 2}

    A bound on a code that exists where the data are (byte + u) / 256 with u uniform in [0, 1) (Theis, van den Oord and
    Bethge 2016, section 3.1): never below 0. Of data that were not dequantised it can be anything. A grey pixel is
    one number, a coloured one three.

    Arguments:
        nats: Log-density of a datum, or its bound.
        numbers: How many a datum has, n.
        levels: Of a number before it was scaled.

    Example:
        >>> bits_per_number(0.0, 784)
        8.0
    """
    return math.log2(levels) - nats / (numbers * math.log(2))


def pixels(x: Batch) -> int | None:
    """How many numbers an image has, a datum with height and width and values in [0, 1]; None for other data.

    A datum of three dimensions is an image if the first are its one or three channels.

    Example:
        >>> import torch
        >>> pixels(torch.rand(5, 28, 28)), pixels(torch.rand(5, 784)), pixels(torch.randn(5, 28, 28))
        (784, None, None)
        >>> pixels(torch.rand(9, 3, 4, 4)), pixels(torch.rand(9, 5, 4, 4))
        (48, None)
    """
    if not isinstance(x, Tensor) or not (x.ndim == 3 or (x.ndim == 4 and x.shape[1] in (1, 3))):
        return None
    if not len(x):
        return None
    low, high = extremes(x)
    return low.numel() if low.min() >= 0 and high.max() <= 1 else None


def prepared(source: Source, where: str, *, dequantise: bool = False, binarise: str = "") -> Source:
    """Images as they are, dequantised, or binary.

    Arguments:
        source: Images with values in [0, 1], a byte over 255.
        where: What errors call them.
        dequantise: Whether bytes become continuous, by :func:`dequantised`.
        binarise: A threshold in (0, 1), above which a pixel is 1; ``stochastic`` draws each pixel once, 1 with its
            value as the probability (Larochelle and Murray 2011); empty leaves values as they are.

    Raises:
        ValueError: If both are asked for, or the threshold is none.
    """
    if not binarise:
        return dequantised(source, where) if dequantise else source
    if dequantise:
        raise ValueError("dequantise makes bytes continuous, binarise makes them 0 or 1; leave one of them out")
    threshold = float(binarise) if _THRESHOLD.fullmatch(binarise) else 0.0
    if binarise != "stochastic" and not 0 < threshold < 1:
        raise ValueError(f"binarise is {binarise!r}; give a threshold such as 0.5, or stochastic")
    splits = {}
    for seed, (split, part) in enumerate(sorted(source.splits.items())):
        random = np.random.default_rng(seed)  # the draws belong to the data: the same for every seed of a run
        binary = np.empty(part.array.shape, dtype=np.float32)
        for start in range(0, len(binary), _BLOCK):
            values = part.array[start : start + _BLOCK]
            bound = threshold or random.random(values.shape, dtype=np.float32)
            binary[start : start + _BLOCK] = values > bound
        splits[split] = replace(part, values=binary)
    return replace(source, splits=splits)


def dequantised(source: Source, where: str) -> Source:
    r"""Images of bytes over 255 as :math:`(b + u) / 256` with u uniform in [0, 1), the same u in every call.

    A log-density of these bounds the log-probability of the bytes, plus log 256 per number (Theis, van den Oord and
    Bethge 2016, section 3.1).

    Raises:
        ValueError: If the values are no bytes over 255.
    """
    # The noise belongs to the data: the same whatever the seed, so that test results can be compared.
    splits = {
        split: replace(part, values=_with_noise(part.array, where, place))
        for place, (split, part) in enumerate(sorted(source.splits.items()))
    }
    return replace(source, splits=splits)


def _with_noise(values: NDArray[np.float32], where: str, seed: int) -> NDArray[np.float32]:
    noisy, random = np.empty(values.shape, dtype=np.float32), np.random.default_rng(seed)
    for start in range(0, len(values), _BLOCK):
        part = values[start : start + _BLOCK] * np.float32(255)
        levels = np.rint(part)
        if levels.size and not (levels.min() >= 0 and levels.max() <= 255 and np.abs(part - levels).max() <= 1e-3):
            raise ValueError(
                f"{where} holds other values than bytes over 255, which alone can be dequantised; leave "
                "--dequantise out"
            )
        noisy[start : start + _BLOCK] = (levels + random.random(levels.shape, dtype=np.float32)) / np.float32(256)
    return noisy

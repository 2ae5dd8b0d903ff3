"""MNIST (LeCun, Bottou, Bengio and Haffner 1998), whole and shrunk: in the data folder, or downloaded into it once."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.download import check_md5, data_folder, downloading
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.readers.idx import is_idx_folder, read_idx_folder
from ppl_vae.data.source import Source
from ppl_vae.data.text_file import TextFile

__all__ = ["READERS"]

_SITE = "https://ossci-datasets.s3.amazonaws.com/mnist/"

_FOLDERS = ("mnist", "MNIST/raw")

# MD5 of the files once uncompressed, as they are published.
_PUBLISHED = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def read_mnist(
    cache: Path | None, image_size: Annotated[int, Meta(ge=0)] = 0, dequantise: bool = False, binarise: str = ""
) -> Source:
    """Reads MNIST from the data folder, after downloading it if it is missing: 60,000 and 10,000 digits.

    Arguments:
        cache: The data folder, unless ``PPL_VAE_DATA`` names it. Taken are the IDX files, gzipped or not, of
            ``mnist/``, else of ``MNIST/raw/``, where torchvision puts them.
        image_size: Height and width that images are brought to by a margin of zeros; 0 leaves them as they are.
        dequantise: Whether bytes b over 255 become (b + u) / 256 with u uniform in [0, 1): their log-density is then a
            bound on the log-probability of the bytes.
        binarise: A threshold in (0, 1), such as 0.5, above which a pixel is 1, or stochastic: each pixel is drawn once,
            1 with its value as the probability, the same whatever the seed.

    Returns:
        Images ``(data, 28, 28)`` with values in [0, 1], and their digits as labels.

    Raises:
        ValueError: If a file is malformed, or files are missing and cannot be downloaded.
    """
    folder = data_folder(cache)
    place = next((folder / name for name in _FOLDERS if is_idx_folder(folder / name)), None)
    if place is None:
        place = folder / _FOLDERS[0]
        _download(folder, place)
    return read_idx_folder(place, image_size, dequantise, binarise)


def _download(folder: Path, target: Path) -> None:
    import pooch

    remedy = (
        f"put {', '.join(_PUBLISHED)} (or the same with .gz) into {target}, or set PPL_VAE_DATA to the folder that "
        "holds mnist/"
    )
    with downloading("mnist", folder, _SITE, remedy) as scratch:
        for name, published in _PUBLISHED.items():
            pooch.retrieve(f"{_SITE}{name}.gz", known_hash=None, fname=f"{name}.gz", path=scratch)
            check_md5(name, TextFile.open(scratch / f"{name}.gz").content, published)
        target.mkdir(exist_ok=True)
        # The training images go last: they alone are what the next call looks for.
        for name in reversed(_PUBLISHED):
            os.replace(scratch / f"{name}.gz", target / f"{name}.gz")


def read_mnist8(cache: Path | None) -> Source:
    """Reads digits of 8 x 8, flat, ``(data, 64)``, with values in [0, 1]: averages of blocks of MNIST."""
    return _shrunk(read_mnist(cache), binary=False)


def read_mnist8_binary(cache: Path | None) -> Source:
    """Reads the digits of 8 x 8 as zeros and ones."""
    return _shrunk(read_mnist(cache), binary=True)


def _shrunk(source: Source, *, binary: bool) -> Source:
    """Digits of 8 x 8, flat: padded to 32 x 32, each block of 4 x 4 averaged.

    Arguments:
        source: Images ``(data, 28, 28)``.
        binary: Whether a pixel is on or off, by whether its average is above 1/5. Seen side by side, thin strokes
            hold together there and no training digit is empty; from 1/4 on strokes break, and some digits are empty.

    Returns:
        Images ``(data, 64)`` with values in [0, 1], or 0 and 1.
    """
    splits = {name: replace(part, values=_pooled(part.array, binary)) for name, part in source.splits.items()}
    return replace(source, splits=splits)


def _pooled(images: NDArray[np.float32], binary: bool) -> NDArray[np.float32]:
    # Whole numbers, whose sums no order of adding changes: the same digits on every machine.
    padded = np.pad(np.rint(255 * images), ((0, 0), (2, 2), (2, 2)))
    totals = padded.reshape(-1, 8, 4, 8, 4).sum((2, 4)).reshape(-1, 64)
    return np.asarray(totals > 16 * 255 / 5 if binary else totals / (16 * 255), dtype=np.float32)


READERS = (
    Reader(
        "mnist",
        "60,000 and 10,000 handwritten digits, values in [0, 1], (28, 28); downloaded once",
        Tensor,
        read_mnist,
    ),
    Reader("mnist8", "the digits averaged down to 8 x 8, values in [0, 1], (64,)", Tensor, read_mnist8),
    Reader("mnist8_binary", "the same, 0 or 1, (64,)", Tensor, read_mnist8_binary),
)

"""Static binarized MNIST (Larochelle and Murray 2011): in the data folder, or downloaded into it once."""

from __future__ import annotations

import lzma
import os
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.download import check_md5, data_folder, downloading
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source, SourceSplit, SplitName
from ppl_vae.data.text_file import TextFile

__all__ = ["READER"]

_SITE = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"

_FOLDER = "binarized_mnist"

_PACKED = ".packbits.xz"

_PIXELS = 784

# MD5 of the files as they are published, a line of 784 digits 0 or 1 each.
_PUBLISHED = {
    "train": "db28b1a6ae0fe70cbd3da91acf46e477",
    "valid": "bf37822a04e94123630de6a7dfd9c9ef",
    "test": "14e41ae11040adba6ab8cb291eda0dd8",
}

_SIZES = {"train": 50_000, "valid": 10_000, "test": 10_000}

_SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def read_binarized_mnist(cache: Path | None) -> Source:
    """Reads the digits from the data folder, after downloading them if they are missing.

    Each pixel of MNIST was drawn once, with its brightness as its chance of being on; all who report likelihoods on
    these 50,000, 10,000 and 10,000 images report them on the same bits.

    Arguments:
        cache: The data folder, unless ``PPL_VAE_DATA`` names it. In it ``binarized_mnist/`` holds
            ``binarized_mnist_train``, ``_valid`` and ``_test``, as they are published (``.amat``) or with eight pixels
            per byte (``.packbits.xz``).

    Returns:
        Images ``(data, 28, 28)`` of zeros and ones, without labels.

    Raises:
        ValueError: If a file is malformed, or files are missing and cannot be downloaded.
    """
    folder = data_folder(cache)
    place = folder / _FOLDER
    if all(_file(place, name) is None for name in _SPLITS):
        _download(folder, place)
    return Source({cast(SplitName, split): SourceSplit(_read(place, name)) for name, split in _SPLITS.items()})


def _file(folder: Path, name: str) -> Path | None:
    """The file of a split; None if there is none."""
    choices = (folder / f"binarized_mnist_{name}{ending}" for ending in (".amat", _PACKED))
    return next((path for path in choices if path.is_file()), None)


def _read(folder: Path, name: str) -> NDArray[np.float32]:
    path = _file(folder, name)
    if path is None:
        raise ValueError(
            f"{folder} lacks binarized_mnist_{name}.amat (or {_PACKED}); add it, or remove the folder to download all"
        )
    content = TextFile.open(path).content
    pixels = np.unpackbits(np.frombuffer(content, np.uint8)) if path.name.endswith(_PACKED) else _digits(path, content)
    if not len(pixels) or len(pixels) % _PIXELS:
        raise ValueError(
            f"{path} holds {len(pixels):,} pixels, which are no images of {_PIXELS}; it is truncated: download it again"
        )
    if len(pixels) != _PIXELS * _SIZES[name]:
        images = len(pixels) // _PIXELS
        raise ValueError(f"{path} holds {images:,} images, published are {_SIZES[name]:,}; download it again")
    return pixels.reshape(-1, 28, 28).astype(np.float32)


def _digits(where: Path, content: bytes) -> NDArray[np.uint8]:
    characters = np.frombuffer(content, np.uint8)
    digits = characters[(characters != ord(" ")) & (characters != ord("\n")) & (characters != ord("\r"))] - ord("0")
    if (digits > 1).any():
        place = int(np.argmax(digits > 1))
        wrong = chr(int(digits[place]) + ord("0") & 255)  # bytes below "0" went round
        raise ValueError(
            f"{where}: pixel {place % _PIXELS} of image {place // _PIXELS} is {wrong!r}, "
            "neither 0 nor 1; download it again"
        )
    return np.asarray(digits, dtype=np.uint8)


def _download(folder: Path, target: Path) -> None:
    import pooch

    names = ", ".join(f"binarized_mnist_{name}.amat" for name in _PUBLISHED)
    remedy = f"put {names} into {target}, or set PPL_VAE_DATA to the folder that holds {_FOLDER}/"
    with downloading("binarized_mnist", folder, _SITE, remedy) as scratch:
        packed = scratch / _FOLDER
        packed.mkdir()
        for name, published in _PUBLISHED.items():
            file = f"binarized_mnist_{name}.amat"
            pooch.retrieve(_SITE + file, known_hash=None, fname=file, path=scratch)
            content = (scratch / file).read_bytes()
            check_md5(file, content, published)
            # Kept in one sixtieth of their size.
            bits = np.packbits(_digits(Path(file), content)).tobytes()
            (packed / f"binarized_mnist_{name}{_PACKED}").write_bytes(lzma.compress(bits))
        if not target.is_dir() or not any(target.iterdir()):  # else another process was as quick
            os.replace(packed, target)


READER = Reader(
    "binarized_mnist",
    "50,000, 10,000 and 10,000 digits, each pixel drawn once, 0 or 1, (28, 28); downloaded once",
    Tensor,
    read_binarized_mnist,
)

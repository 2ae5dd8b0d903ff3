"""A folder of images: one datum a file, one class a sub-folder, or the splits."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ppl_vae.data.readers.folders import splits_and_labels
from ppl_vae.data.source import Source, SourceSplit, SplitName
from ppl_vae.data.tokens import class_ids

__all__ = ["dequantised", "holds_images", "read_images"]

BLOCK = 1_000
"""Data worked on at once."""

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())


def holds_images(folder: Path) -> bool:
    """Whether a folder has images and no ``.txt`` files beside them.

    Raises:
        ValueError: If it has, but fewer than images.
    """
    images, texts = _files(folder), sorted(folder.rglob("*.txt"))
    if 0 < len(texts) < len(images):
        raise ValueError(f"{folder} has images and {texts[0]} beside them; move out of it what is no image")
    return bool(images) and not texts


def read_images(folder: Path, size: int = 0) -> Source:
    """Reads images with values in [0, 1], a byte over 255.

    An image is turned as its camera noted, and lies on white where it is transparent. Sub-folders ``train``,
    ``test`` and ``validation`` are splits; the first folder on the way to a file, within these
    or without them, is its class.

    Arguments:
        folder: The folder.
        size: Height and width to bring each image to, cut to a square around its middle; 0 leaves them as they are.

    Returns:
        Images ``(data, height, width)`` if all are grey, else ``(data, 3, height, width)``.

    Raises:
        ValueError: If a file is no image, sizes differ, a file lies outside the splits, or only some have a class.
    """
    paths = _files(folder)
    if not paths:
        raise ValueError(f"{folder} has no images; give a folder with files {', '.join(ENDINGS)}")
    splits, labels = splits_and_labels(folder, paths)
    if "train" not in splits:
        raise ValueError(f"{folder} has no images for training; add a folder train")
    values = _bytes(paths, size)
    ids, names = class_ids(labels) if labels else (None, ())
    rows = {split: np.flatnonzero(np.array(splits) == split) for split in get_args(SplitName) if split in splits}
    return Source(
        {
            split: SourceSplit(np.divide(values[row], 255, dtype=np.float32), None if ids is None else ids[row])
            for split, row in rows.items()
        },
        label_names=tuple(names),
    )


def _bytes(paths: list[Path], size: int) -> NDArray[np.uint8]:
    """All images as bytes, an eighth of what floats made one by one would hold at their most."""
    grey = all(_opened(path, size, None).mode in ("1", "L") for path in paths)
    first: NDArray[np.uint8] | None = None
    for row, path in enumerate(paths):
        image = np.asarray(_opened(path, size, "L" if grey else "RGB"), dtype=np.uint8)
        if first is None:
            first = image
            everything = np.empty((len(paths), *image.shape), dtype=np.uint8)
        if image.shape != first.shape:
            height, width = image.shape[:2]
            raise ValueError(
                f"{path} is {height} x {width}, {paths[0]} is {first.shape[0]} x {first.shape[1]}; bring all to one "
                "size with --image-size"
            )
        everything[row] = image
    return everything if grey else np.ascontiguousarray(everything.transpose(0, 3, 1, 2))


def _opened(path: Path, size: int, mode: str | None) -> Image.Image:
    """An image; without a mode only its header is read."""
    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":
                raise ValueError(f"{image.mode} holds more than a byte a number; save it with 8 bits")
            if mode is None:
                return image
            converted = _on_paper(ImageOps.exif_transpose(image)).convert(mode)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); mend or remove it") from error
    return ImageOps.fit(converted, (size, size), Image.Resampling.BOX) if size else converted


def _on_paper(image: Image.Image) -> Image.Image:
    """With white where it is transparent, instead of whatever colour is hidden there."""
    if not image.has_transparency_data:
        return image
    whole = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)


def dequantised(values: NDArray[np.float32], where: str, seed: int) -> NDArray[np.float32]:
    r"""Bytes over 255 as :math:`(b + u) / 256` with u uniform in [0, 1), the same u in every call.

    A log-density of these bounds the log-probability of the bytes, plus log 256 a number (Theis, van den Oord and
    Bethge 2016, section 3.1).

    Raises:
        ValueError: If the values are no bytes over 255.
    """
    found, random = np.empty(values.shape, dtype=np.float32), np.random.default_rng(seed)
    # In blocks: a folder of images may fill half the memory.
    for start in range(0, len(values), BLOCK):
        part = values[start : start + BLOCK] * np.float32(255)
        levels = np.rint(part)
        if levels.size and not (levels.min() >= 0 and levels.max() <= 255 and np.abs(part - levels).max() <= 1e-3):
            raise ValueError(
                f"{where} holds other values than bytes over 255, which alone can be dequantised; leave "
                "--dequantise out"
            )
        found[start : start + BLOCK] = (levels + random.random(levels.shape, dtype=np.float32)) / np.float32(256)
    return found

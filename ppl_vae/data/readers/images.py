"""A folder of images: one datum per file, one class per sub-folder, or the splits."""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.folders import IMAGES, files_in, left_out, sort_files
from ppl_vae.data.images import prepared
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.sizes import check_bytes
from ppl_vae.data.source import Source, SourceSplit, SplitName
from ppl_vae.data.text_file import read_bytes, reason
from ppl_vae.data.tokens import class_ids

__all__ = ["READER"]

if TYPE_CHECKING:
    from PIL import Image


def holds_images(folder: Path) -> bool:
    """Whether a folder has more images than ``.txt`` files."""
    if not folder.is_dir():
        return False
    endings = Counter(path.suffix.lower() for path in files_in(folder))
    return sum(endings[ending] for ending in IMAGES) > endings[".txt"]


def read_images(
    folder: Path,
    image_size: Annotated[int, Meta(ge=0)] = 0,
    dequantise: bool = False,
    binarise: str = "",
    invert: bool = False,
) -> Source:
    """Reads images with values in [0, 1], a byte over 255.

    An image is rotated by its EXIF orientation, and lies on white where it is transparent. Sub-folders ``train``,
    ``test`` and ``validation`` are splits; the first folder on the way to a file, within these
    or without them, is its class.

    Arguments:
        folder: The folder.
        image_size: Height and width that images are brought to, cut to a square around their middle; 0 leaves them as
            they are.
        dequantise: Whether bytes b over 255 become (b + u) / 256 with u uniform in [0, 1): their log-density is then a
            bound on the log-probability of the bytes.
        binarise: A threshold in (0, 1), such as 0.5, above which a pixel is 1, or stochastic: each pixel is drawn once,
            1 with its value as the probability, the same whatever the seed.
        invert: Whether black and white change places, such as for black digits on white paper.

    Returns:
        Images ``(data, height, width)`` if all are grey, else ``(data, 3, height, width)``.

    Raises:
        ValueError: If there are texts beside the images, a file is no image, sizes differ, a file lies outside the
            splits, or only some have a class.
    """
    files = files_in(folder)
    paths = [path for path in files if path.suffix.lower() in IMAGES and path.is_file()]
    others = [path for path in files if path.suffix.lower() not in IMAGES]
    texts = [path for path in others if path.suffix.lower() == ".txt"]
    if len(texts) * 20 > len(paths):
        raise ValueError(f"{folder} has images and {texts[0]} beside them; move out of it what is no image")
    found = sort_files(folder, paths)
    paths, splits, labels = found.paths, found.splits, found.labels
    notes = left_out(folder, len(paths), others, "images") + found.notes
    if "train" not in splits:
        raise ValueError(f"{folder} has no images for training; add a folder train")
    values = _bytes(paths, image_size)
    if invert:
        np.subtract(255, values, out=values)
    ids, names = class_ids(labels) if labels else (None, ())
    rows = {split: np.flatnonzero(np.array(splits) == split) for split in get_args(SplitName) if split in splits}
    source = Source(
        {
            split: SourceSplit(np.divide(values[row], 255, dtype=np.float32), None if ids is None else ids[row])
            for split, row in rows.items()
        },
        label_names=tuple(names),
        notes=notes,
    )
    return prepared(source, str(folder), dequantise=dequantise, binarise=binarise)


def _bytes(paths: list[Path], size: int) -> NDArray[np.uint8]:
    """All images as bytes, which take an eighth of the memory that floats made one by one would."""
    # Warnings are of cameras' notes about the image, which are passed over, and of its size. Decoders run beside each
    # other, without Python's lock.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as pool:
        grey = all(image.mode in ("1", "L") for image in pool.map(lambda path: _opened(path, size, None), paths))
        mode = "L" if grey else "RGB"
        first = np.asarray(_opened(paths[0], size, mode), dtype=np.uint8)
        check_bytes(str(paths[0].parent), 4 * len(paths) * first.size, f"for {len(paths):,} images as 32-bit floats")
        everything = np.empty((len(paths), *first.shape), dtype=np.uint8)

        def read(row: int) -> None:
            image = np.asarray(_opened(paths[row], size, mode), dtype=np.uint8)
            if image.shape != first.shape:
                height, width = image.shape[:2]
                raise ValueError(
                    f"{paths[row]} is {height} x {width}, {paths[0]} is {first.shape[0]} x {first.shape[1]}; bring all "
                    "to one size with --image-size"
                )
            everything[row] = image

        try:
            deque(pool.map(read, range(len(paths))), maxlen=0)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return everything if grey else np.ascontiguousarray(everything.transpose(0, 3, 1, 2))


def _opened(path: Path, size: int, mode: str | None) -> Image.Image:
    """An image; without a mode only its header is read."""
    from PIL import Image, ImageOps

    try:
        # Decoders ask a file for as many bytes as it announces, which takes memory; one in memory gives what it has.
        file = path if mode is None else io.BytesIO(read_bytes(path))
        with Image.open(file) as image:
            if image.mode[0] in "IF":
                raise ValueError(f"{image.mode} holds more than 8 bits per channel; save it with 8 bits")
            check_bytes(str(path), 8 * image.width * image.height, "as an image and its copy")
            if mode is None:
                return image
            converted = _on_paper(ImageOps.exif_transpose(image)).convert(mode)
    except Exception as error:
        # Damage shows in too many types to list (decoders of some ten formats).
        raise ValueError(f"{path} cannot be read as an image ({reason(error)}); mend or remove it") from error
    return ImageOps.fit(converted, (size, size), Image.Resampling.BOX) if size else converted


def _on_paper(image: Image.Image) -> Image.Image:
    """The image on white: a transparent pixel has an arbitrary colour."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    whole = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)


READER = Reader(
    "IMAGES/",
    "a folder of .png, .jpg, ... files, bytes over 255, (height, width) or (3, height, width); sub-folders are labels, "
    "or splits if called train, validation and test",
    Tensor,
    read_images,
    matches=holds_images,
)

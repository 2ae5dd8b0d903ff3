"""IDX, the format of the MNIST files: images of bytes, gzipped or not, with labels beside them."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.images import prepared
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.sizes import check_bytes
from ppl_vae.data.source import Source, SourceSplit, SplitName
from ppl_vae.data.text_file import TextFile

__all__ = ["FILES", "READERS", "is_idx_folder", "read_idx_folder"]

FILES: dict[SplitName, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Images and labels of each split, as MNIST and its relatives call them; ``.gz`` may follow."""


def is_idx_folder(folder: Path) -> bool:
    """Whether a folder holds the training images of MNIST or a relative."""
    return any("train" in path.name for path in _images(folder))


def _images(folder: Path) -> list[Path]:
    """The images of a folder, whatever stands before, between and after the parts of their names."""
    return sorted(path for path in folder.glob("*images?idx3-ubyte*") if path.suffix in ("", ".idx3-ubyte", ".gz"))


def _image_file(folder: Path, split: SplitName) -> Path:
    """The images of a split: those with MNIST's own name if they are there, else the only ones of the split.

    Raises:
        ValueError: If there are several, naming them.
    """
    own = _packed(folder / FILES[split][0])
    marks = ("train",) if split == "train" else ("t10k", "test")
    found = [path for path in _images(folder) if any(mark in path.name for mark in marks)]
    if own.is_file() or not found:
        return own
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder} has several files of {split} images ({names}); keep one set in a folder of its own")
    return found[0]


def _labels_of(images: Path) -> Path:
    """The file of labels beside one of images."""
    name = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    return _packed(images.with_name(name))


def read_idx(
    path: Path, image_size: Annotated[int, Meta(ge=0)] = 0, dequantise: bool = False, binarise: str = ""
) -> Source:
    """Reads images ``(data, height, width)`` with values in [0, 1], a byte over 255.

    Labels are read from the file beside it whose name has ``labels-idx1`` for ``images-idx3``, if there is one.

    Arguments:
        path: The images.
        image_size: Height and width that images are brought to by a margin of zeros; 0 leaves them as they are.
        dequantise: Whether bytes b over 255 become (b + u) / 256 with u uniform in [0, 1): their log-density is then a
            bound on the log-probability of the bytes.
        binarise: A threshold in (0, 1), such as 0.5, above which a pixel is 1, or stochastic: each pixel is drawn once,
            1 with its value as the probability, the same whatever the seed.

    Raises:
        ValueError: If a file is missing, truncated or no IDX file of bytes, or has no images, or if there is not one
            label per image.
    """
    labels = _labels_of(path)
    splits: dict[SplitName, SourceSplit] = {
        "train": _split(path, labels if labels.is_file() and labels != path else None)
    }
    return _source(splits, str(path), image_size, dequantise, binarise)


def read_idx_folder(
    folder: Path, image_size: Annotated[int, Meta(ge=0)] = 0, dequantise: bool = False, binarise: str = ""
) -> Source:
    """Reads the four files of MNIST or a relative: images and labels for training and for the test.

    Arguments:
        folder: The folder.
        image_size: Height and width that images are brought to by a margin of zeros; 0 leaves them as they are.
        dequantise: Whether bytes b over 255 become (b + u) / 256 with u uniform in [0, 1): their log-density is then a
            bound on the log-probability of the bytes.
        binarise: A threshold in (0, 1), such as 0.5, above which a pixel is 1, or stochastic: each pixel is drawn once,
            1 with its value as the probability, the same whatever the seed.

    Raises:
        ValueError: For the faults of :func:`read_idx`, and if one of the files is missing.
    """
    images = {split: _image_file(folder, split) for split in FILES}
    splits = {split: _split(path, _labels_of(path)) for split, path in images.items()}
    return _source(splits, str(folder), image_size, dequantise, binarise)


def _padded(source: Source, size: int) -> Source:
    """Images ``(data, size, size)`` with a margin of zeros, as LeCun et al. (1998) gave their digits one.

    Raises:
        ValueError: If they are larger than that.
    """
    height, width = source.splits["train"].array.shape[1:]
    if max(height, width) > size:
        raise ValueError(
            f"images of {height} x {width} are given a margin, not shrunk: --image-size must be at least "
            f"{max(height, width)}, got {size}"
        )
    data = sum(len(part) for part in source.splits.values())
    check_bytes(f"--image-size {size}", 4 * data * size**2, f"for {data:,} images as 32-bit floats")
    margins = ((0, 0), *((((size - side) // 2), (size - side + 1) // 2) for side in (height, width)))
    splits = {name: replace(part, values=np.pad(part.array, margins)) for name, part in source.splits.items()}
    return replace(source, splits=splits)


def _packed(path: Path) -> Path:
    """A file as it is, or with ``.gz`` if only that is there."""
    packed = path.with_name(f"{path.name}.gz")
    return packed if packed.is_file() and not path.is_file() else path


def _source(
    splits: dict[SplitName, SourceSplit], where: str, image_size: int, dequantise: bool, binarise: str
) -> Source:
    sizes = {name: part.array.shape[1:] for name, part in splits.items()}
    if len(set(sizes.values())) > 1:
        each = ", ".join(f"{name} {height} x {width}" for name, (height, width) in sizes.items())
        raise ValueError(f"{where} has images of several sizes ({each}); give all splits images of one size")
    labels = [part.labels for part in splits.values() if part.labels is not None]
    classes = 1 + max(int(each.max()) for each in labels) if labels else 0
    source = Source(splits, label_names=tuple(str(label) for label in range(classes)))
    source = _padded(source, image_size) if image_size else source
    return prepared(source, where, dequantise=dequantise, binarise=binarise)


def _split(path: Path, labels: Path | None) -> SourceSplit:
    images = _read(path, 3)
    if labels is None:
        return SourceSplit(_scaled(images))
    ids = _read(labels, 1)
    if len(ids) != len(images):
        raise ValueError(f"{labels} has {len(ids)} labels for the {len(images)} images of {path.name}; download both")
    return SourceSplit(_scaled(images), ids.astype(np.int64))


def _scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.divide(images, 255, dtype=np.float32)


def _shape(where: str, axes: int, first: bytes) -> tuple[int, ...] | None:
    """The shape by the beginning of a file, if it may be taken into memory; None of one that is no IDX file."""
    # Two zeros, the type (8: unsigned bytes), the number of axes; then their sizes.
    if first[:4] != bytes([0, 0, 8, axes]) or len(first) < 4 + 4 * axes:
        return None
    shape: tuple[int, ...] = struct.unpack_from(f">{axes}I", first, 4)
    check_bytes(where, 4 * prod(shape), "as 32-bit floats")
    return shape


def _read(path: Path, axes: int) -> NDArray[np.uint8]:
    head, read = 4 + 4 * axes, partial(_shape, str(path), axes)

    def announced(first: bytes) -> int:
        """Length of the file, before the rest is uncompressed."""
        shape = read(first)
        return 0 if shape is None else head + prod(shape)

    content = TextFile.open(path, announced).content
    if (shape := read(content)) is None:
        remedy = (
            "it is compressed by gzip: end its name in .gz" if content[:2] == b"\x1f\x8b" else "check what the file is"
        )
        raise ValueError(
            f"{path} begins with {content[:4].hex() or 'nothing'}, not with 000008{axes:02x} as an IDX file of bytes "
            f"with {axes} ax{'es' if axes > 1 else 'is'} does; {remedy}"
        )
    if (found := len(content) - head) != prod(shape):
        has = found if found < prod(shape) else "more"
        raise ValueError(f"{path} announces {shape} bytes and has {has}; download the file again")
    if 0 in shape:
        raise ValueError(f"{path} has shape {shape}, which holds no data; give at least one")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


READERS = (
    Reader(
        "FILE-idx3-ubyte",
        "images in the format of MNIST, bytes over 255, with labels beside them (also .gz)",
        Tensor,
        read_idx,
        suffixes=("idx3-ubyte",),
    ),
    Reader(
        "IDX/",
        "a folder with the four files of MNIST or a relative, such as train-images-idx3-ubyte.gz",
        Tensor,
        read_idx_folder,
        matches=is_idx_folder,
    ),
)

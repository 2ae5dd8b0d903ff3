"""Arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test``, as Keras and many others write data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.array_file import ArrayFile, names_in
from ppl_vae.data.folders import split_named
from ppl_vae.data.images import prepared
from ppl_vae.data.readers.arrays import checked_numbers
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source, SourceSplit, SplitName
from ppl_vae.data.text_file import unquoted
from ppl_vae.data.tokens import class_ids

__all__ = ["READER", "classes_of", "values_of"]


def _split_of(name: str, letter: str) -> SplitName | None:
    first, _, rest = name.removesuffix(".npy").partition("_")
    return split_named(rest) if first.lower() == letter else None


def holds_pairs(path: Path) -> bool:
    """Whether an ``.npz`` holds an array ``x_train``."""
    names = names_in(path)
    return "train.npy" not in names and any(_split_of(name, "x") == "train" for name in names)


def read_pairs(path: Path, dequantise: bool = False, missing: bool = False, binarise: str = "") -> Source:
    """Reads the arrays ``x_train``, ``x_test`` and perhaps ``x_val``, and ``y_train``, ... as labels.

    Images of bytes become their values over 255, and colours that come last come first.

    Arguments:
        path: The file.
        dequantise: Whether bytes b over 255 become (b + u) / 256 with u uniform in [0, 1): their log-density is then a
            bound on the log-probability of the bytes.
        binarise: A threshold in (0, 1), such as 0.5, above which a pixel is 1, or stochastic: each pixel is drawn once,
            1 with its value as the probability, the same whatever the seed.
        missing: Whether NaN is allowed: a value that is missing, which the model masks.

    Raises:
        ValueError: For the faults of arrays, if the data of two splits have different shapes, or if there are more or
            fewer labels than data.
    """
    values, labels = dict[SplitName, NDArray[np.float32]](), dict[SplitName, NDArray[Any]]()
    notes: list[str] = []
    with ArrayFile(path) as file:
        for name in file.files:
            if (split := _split_of(name, "x")) is not None:
                if split in values:
                    raise ValueError(f"{path} holds two arrays of {split} data; leave one of them out")
                values[split] = values_of(f"{path}, array {unquoted(name)}", file[name], notes, missing)
            elif (split := _split_of(name, "y")) is not None:
                labels[split] = file[name]
            else:
                notes.append(f"array {unquoted(name)} of {path.name} is not read")
    shapes = {split: array.shape[1:] for split, array in values.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{path}: data of several shapes ({shapes}); give all splits data of one shape")
    ids, names = classes_of(path, values, labels, notes)
    splits = {split: SourceSplit(array, ids.get(split)) for split, array in values.items()}
    source = Source(splits, label_names=names, notes=tuple(dict.fromkeys(notes)))
    return prepared(source, str(path), dequantise=dequantise, binarise=binarise)


def values_of(where: str, array: NDArray[Any], notes: list[str], missing: bool) -> NDArray[np.float32]:
    """An array of data as 32-bit floats; of images of bytes the values over 255, and colours that come last first."""
    pixels = array.dtype == np.uint8 and array.ndim in (3, 4)
    if pixels and array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3):
        array = np.moveaxis(array, 3, 1)
    values = checked_numbers(where, array, notes, missing)
    if pixels:
        notes.append("images of bytes are read as values in [0, 1], a byte over 255")
        values /= np.float32(255)
    return values


def classes_of(
    path: Path, values: dict[SplitName, NDArray[np.float32]], labels: dict[SplitName, NDArray[Any]], notes: list[str]
) -> tuple[dict[SplitName, NDArray[np.int64]], tuple[str, ...]]:
    """Class ids of each split, and names of classes; none of labels that are no classes, which a note names."""
    if not labels:
        return {}, ()
    flat: dict[SplitName, NDArray[Any]] = {}
    for split, array in labels.items():
        each = array.reshape(len(array)) if array.ndim and array.size == len(array) else array
        if each.ndim != 1 or each.dtype.kind not in "uiUS" or split not in values:
            notes.append("the arrays y are no classes, one whole number or text for each datum, and are not read")
            return {}, ()
        if len(each) != len(values[split]):
            raise ValueError(f"{path}: {len(values[split])} {split} data and {len(each)} labels; give each its own")
        flat[split] = each
    if flat.keys() != values.keys():
        notes.append("the arrays y are not there for all splits, and are not read")
        return {}, ()
    joined = np.concatenate([each.astype(str) for each in flat.values()])
    ids, names = class_ids(joined.tolist())
    if all(each.dtype.kind in "ui" for each in flat.values()):  # 10 after 9
        order = sorted(range(len(names)), key=lambda place: int(names[place]))
        rank = np.argsort(np.array(order))
        ids, names = rank[ids], tuple(names[place] for place in order)
    ends = np.cumsum([len(each) for each in flat.values()])[:-1]
    return dict(zip(flat, np.split(ids, ends), strict=True)), names


READER = Reader(
    "PAIRS.npz",
    "arrays x_train, y_train, x_test and y_test, as Keras writes them; images of bytes over 255",
    Tensor,
    read_pairs,
    suffixes=(".npz",),
    matches=holds_pairs,
)

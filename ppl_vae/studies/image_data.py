"""Images that experiments train on: with their classes, or made continuous."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppl_vae.data import load_corpus
from ppl_vae.data.inputs import Batch

__all__ = ["LabelledImages", "images_with_margins", "labelled_images"]


@dataclass(frozen=True)
class LabelledImages:
    """Images of a corpus with their classes; those of a folder without classes have no labels."""

    x: Tensor
    labels: Tensor | None


@lru_cache(maxsize=1)  # those of the paper's size take minutes to read
def labelled_images(corpus: str, size: int, count: int) -> tuple[LabelledImages, LabelledImages]:
    """Returns training and test images.

    Arguments:
        corpus: Name of a corpus of images, ``bars`` (doubled in size), or ``celeba``, a folder in the data folder.
        size: Height and width.
        count: Number of training images.
    """
    where = Path(os.environ.get("PPL_VAE_DATA", ".")) / corpus
    options: dict[str, Any] = {} if corpus == "bars" else {"image_size": size}
    data = load_corpus(str(where) if corpus == "celeba" else corpus, validation=0, **options)

    def images(values: Batch, labels: Tensor | None) -> LabelledImages:
        assert isinstance(values, Tensor)
        x = values.unflatten(1, (4, 4)).repeat_interleave(2, 1).repeat_interleave(2, 2) if corpus == "bars" else values
        return LabelledImages(x, None if labels is None else labels[: len(values)])

    return images(data.train.values[:count], data.train.labels), images(data.test.values, data.test.labels)


def images_with_margins(corpus: str, count: int, tested: int, dequantise: bool) -> tuple[Tensor, Tensor]:
    """Returns training and test images; ``bars`` get a margin, so that they have constant pixels as digits do.

    Arguments:
        corpus: Name of a corpus of images.
        count: Number of training images.
        tested: Number of test images.
        dequantise: Whether uniform noise makes the bytes continuous.
    """
    options: dict[str, Any] = {} if corpus == "bars" else {"dequantise": dequantise}
    images = load_corpus(corpus, validation=0, **options)
    x, test = images.train.values[:count], images.test.values[:tested]
    assert isinstance(x, Tensor) and isinstance(test, Tensor)
    if corpus == "bars":
        x, test = (torch.nn.functional.pad(part.unflatten(1, (4, 4)), (1, 1, 1, 1)) for part in (x, test))
        if dequantise:
            noise = torch.Generator().manual_seed(0)
            x, test = ((255 * part + torch.rand(part.shape, generator=noise)) / 256 for part in (x, test))
    return x, test

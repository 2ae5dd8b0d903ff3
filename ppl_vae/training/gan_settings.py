"""How to train a GAN generator, and on which data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor

from ppl_vae.data.images import image_shape, pixels
from ppl_vae.data.inputs import Batch
from ppl_vae.nn.dcgan import Generator

__all__ = ["GanSettings", "check_images"]


@dataclass(frozen=True)
class GanSettings:
    """How to train a generator: as Radford, Metz and Chintala (2016, section 3) except for what is set here.

    Arguments:
        latents: Length of a code.
        channels: Channels of the generator's last hidden layer and of the discriminator's first.
        epochs: Passes over all images.
        batch_size: Images per step; a last smaller batch of an epoch is left out.
        learning_rate: Learning rate of both networks' Adam, whose momentum is 0.5.
        seed: Seed of weights, codes, and the order of images.

    Raises:
        ValueError: If a number is out of range.
    """

    latents: Annotated[int, Meta(ge=1)] = 100
    channels: Annotated[int, Meta(ge=1)] = 64
    epochs: Annotated[int, Meta(ge=1)] = 25
    batch_size: Annotated[int, Meta(ge=2)] = 128
    learning_rate: float = 2e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"a GAN needs at least 1 epoch, 2 images a step and a positive learning rate, got {self.epochs}, "
                f"{self.batch_size} and {self.learning_rate:g}"
            )


def check_images(x: Batch, settings: GanSettings) -> Tensor:
    """Returns data that a generator can learn from; a ValueError says what is wrong with others."""
    if isinstance(x, Tensor) and x.ndim in (3, 4) and (colours := image_shape(x.shape[1:])[0]) not in (1, 3):
        remedy = (
            "their colours come last: save numpy.moveaxis(array, -1, 1)" if x.shape[-1] in (1, 3) else "save them so"
        )
        raise ValueError(f"a generator makes images of 1 or 3 colours, these have {colours}; {remedy}")
    if not isinstance(x, Tensor) or pixels(x) is None:
        words = (
            f"are {tuple(x.shape[1:])} each, from {x.min():g} to {x.max():g}" if isinstance(x, Tensor) else "are not"
        )
        raise ValueError(
            f"a generator learns from images in [0, 1], but the data {words}; divide bytes by 255, or take MNIST, "
            "IDX files, a folder of images or an array of such (.npy)"
        )
    if len(x) < settings.batch_size:
        raise ValueError(f"{len(x)} images are no batch of {settings.batch_size}; lower --batch-size")
    with torch.device("meta"):
        Generator(settings.latents, x.shape[1:], settings.channels)
    return x

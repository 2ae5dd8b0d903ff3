"""The factorised guide of images."""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch import nn

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.convolutional import ConvolutionalEncoder
from ppl_vae.nn.dcgan import encoder
from ppl_vae.programs.amortised import Factorised, Reads
from ppl_vae.programs.types import Program


class Convolutional(Factorised):
    """Independent latents with parameters from a convolutional network (Berger and Sebag 2020, B.1).

    Arguments:
        model: The generative model; its latents may be of any family of ``mean_field``.
        x: An example batch of images, ``(batch, height, width)`` or ``(batch, channels, height, width)``.
        channels: Channels of the first convolution; each following one has twice as many.
        blocks: Number of residual blocks; a discriminator has none.
        network: Three convolutions and the blocks, or a GAN's discriminator without its normalisation over the batch.

    Raises:
        ValueError: If the data are no images, or there is no such network.
    """

    reads: Reads = "images"

    def __init__(
        self,
        model: Program,
        x: Batch,
        channels: int = 16,
        blocks: int = 4,
        network: Literal["residual", "discriminator"] = "residual",
    ) -> None:
        def read(outputs: int) -> nn.Module:
            residual = partial(ConvolutionalEncoder, x, outputs, channels, blocks)
            return encoder(network, x, outputs, channels, residual=residual)

        super().__init__(model, x, read)

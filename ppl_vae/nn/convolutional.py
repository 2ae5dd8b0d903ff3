"""Convolutional networks of images of any size: an encoder for guides and its mirror image for models."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from ppl_vae.data.images import image_shape
from ppl_vae.data.inputs import Batch
from ppl_vae.nn.numbers import ImageAndNumbers

__all__ = ["ConvolutionalEncoder", "ConvDecoderBody", "ConvResidualBlock", "ConvDecoderHead"]

LAYERS = 3


def _sizes(side: int) -> list[int]:
    """Side of an image before the first layer and after each layer: halved, rounded up."""
    sizes = [side]
    for _ in range(LAYERS):
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def _widths(channels: int) -> list[int]:
    return [channels, 2 * channels, 4 * channels]


class ConvResidualBlock(nn.Module):
    r"""A residual block, :math:`h + \mathrm{conv}(\mathrm{relu}(\mathrm{conv}(\mathrm{relu}(h))))` (He et al. 2016b).

    Without batch normalisation, which would couple data; the block is the identity until trained.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.inner = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), last)

    def forward(self, h: Tensor) -> Tensor:
        result: Tensor = h + self.inner(h)
        return result


class ConvolutionalEncoder(nn.Module):
    """Three convolutions that halve an image, residual blocks, and an affine map (Berger and Sebag 2020, B.1).

    Pixels are read in units of their spread (:func:`~ppl_vae.nn.spread.location_and_spread`); with a small example, as
    they are.

    Arguments:
        x: An example of the data.
        outputs: Width of the result.
        channels: Channels of the first layer; each following one has twice as many.
        blocks: Number of residual blocks.

    Shapes:
        ``(batch, *shape)`` to ``(batch, outputs)``.

    Raises:
        ValueError: If the data are no images.
    """

    def __init__(self, x: Batch, outputs: int, channels: int = 16, blocks: int = 4) -> None:
        super().__init__()
        self.reads = ImageAndNumbers(x)
        depths = [self.reads.channels, *_widths(channels)]
        self.layers = nn.Sequential()
        for inputs, units in zip(depths, depths[1:], strict=False):
            self.layers.extend([nn.Conv2d(inputs, units, 3, stride=2, padding=1), nn.ReLU()])
        self.layers.extend([ConvResidualBlock(depths[-1]) for _ in range(blocks)])
        features = depths[-1] * prod(_sizes(side)[-1] for side in self.reads.shape[1:])
        self.last = nn.Linear(features + self.reads.others.width, outputs)

    def forward(self, x: Batch) -> Tensor:
        h = self.layers(self.reads.images(x, self.last.weight.dtype))
        result: Tensor = self.last(self.reads.beside(h.flatten(1).relu(), x))
        return result


class ConvDecoderBody(nn.Module):
    """First half of a decoder: an affine map of codes onto a small image of many channels, and residual blocks.

    Arguments:
        latents: Number of latents.
        shape: Shape of a datum.
        channels: A quarter of the number of channels of the small image.
        blocks: Number of residual blocks.

    Shapes:
        ``(..., latents)`` to ``(..., outputs)``.
    """

    def __init__(self, latents: int, shape: Sequence[int], channels: int, blocks: int) -> None:
        super().__init__()
        _, height, width = image_shape(shape)
        self.small = (4 * channels, _sizes(height)[-1], _sizes(width)[-1])
        self.outputs = prod(self.small)
        self.first = nn.Linear(latents, self.outputs)
        self.blocks = nn.Sequential(*(ConvResidualBlock(4 * channels) for _ in range(blocks)))

    def forward(self, z: Tensor) -> Tensor:
        h: Tensor = self.blocks(self.first(z).reshape(-1, *self.small))
        return h.relu().reshape(*z.shape[:-1], self.outputs)


class ConvDecoderHead(nn.Module):
    """Second half of a decoder: three transposed convolutions that double an image up to the shape of a datum.

    Arguments:
        shape: Shape of a datum.
        channels: As for :class:`ConvDecoderBody`.

    Shapes:
        ``(..., inputs)`` to ``(..., *shape)``.
    """

    def __init__(self, shape: Sequence[int], channels: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        depth, *sides = image_shape(shape)
        sizes = [_sizes(side) for side in sides]
        self.small = (4 * channels, *(each[-1] for each in sizes))
        depths = [*reversed(_widths(channels)), depth]
        self.layers = nn.Sequential()
        for layer in range(LAYERS):
            # A layer gives sides of 2 n - 1; an even side needs one more.
            more_height, more_width = (1 - each[LAYERS - 1 - layer] % 2 for each in sizes)
            self.layers.append(
                nn.ConvTranspose2d(
                    depths[layer], depths[layer + 1], 3, stride=2, padding=1, output_padding=(more_height, more_width)
                )
            )
            if layer < LAYERS - 1:
                self.layers.append(nn.ReLU())

    def forward(self, h: Tensor) -> Tensor:
        result: Tensor = self.layers(h.reshape(-1, *self.small))
        return result.reshape(*h.shape[:-1], *self.shape)

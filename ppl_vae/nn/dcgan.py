"""Generator and discriminator of a convolutional GAN (Radford, Metz and Chintala 2016), for images of even sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from torch import Tensor, nn
from torch.nn import functional

from ppl_vae.data.images import image_shape
from ppl_vae.data.inputs import Batch
from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.numbers import ImageAndNumbers

__all__ = ["Discriminator", "FrozenBatchNorm", "Generator", "encoder"]

SMALL = 4
"""Side at which halving stops."""

SLOPE = 0.2
"""Slope of the leaky rectifier (Radford, Metz and Chintala 2016, section 3)."""


class FrozenBatchNorm(nn.BatchNorm2d):
    r"""Batch normalisation with fixed statistics in every mode: an affine map of each datum alone.

    .. math:: y = \gamma (h - m) / \sqrt{v + \epsilon} + \beta

    The statistics m and v are constant; :math:`\gamma` and :math:`\beta` may be learned.
    """

    def forward(self, input: Tensor) -> Tensor:
        return functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


class Generator(nn.Module):
    """Maps codes to images: an affine map onto a small image, and transposed convolutions that double it.

    With batch normalisation and ReLU in between, and a hyperbolic tangent at the end. Names and shapes of the layers
    are those of the DCGAN tutorial of PyTorch (Inkawhich 2017), whose generators of 64 x 64 images can be loaded.

    Arguments:
        latents: Number of latents.
        shape: Shape of an image, ``(height, width)`` or ``(channels, height, width)``; its even sides are halved down
            to 4 or an odd number.
        channels: Number of channels of the last hidden layer; each layer before has twice as many.
        frozen: Whether the statistics of batch normalisation are fixed, so that no image depends on the others of its
            batch.

    Shapes:
        ``(..., latents)`` to ``(..., *shape)``, with values in (-1, 1).

    Raises:
        ValueError: If the shape is not that of an image, or a side is odd or below 8.
    """

    def __init__(self, latents: int, shape: Sequence[int], channels: int = 64, *, frozen: bool = False) -> None:
        super().__init__()
        self.latents, self.shape = latents, tuple(shape)
        check_at_least(1, latents=latents, channels=channels)
        depth, height, width = image_shape(shape)
        count = 0
        while all(side % 2 == 0 and side > SMALL for side in (height >> count, width >> count)):
            count += 1
        if not count:
            raise ValueError(
                f"a generator doubles a small image, and so needs even sides of at least 8, not {height} x {width}; "
                "scale the images to 32 or 64 (--image-size does it for folders, MNIST and IDX files)"
            )
        widths = [channels * 2**layer for layer in reversed(range(count))]
        norm = FrozenBatchNorm if frozen else nn.BatchNorm2d
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latents, widths[0], (height >> count, width >> count), bias=False)
        ]
        for units, following in zip(widths, [*widths[1:], depth], strict=True):
            layers += [norm(units), nn.ReLU(), nn.ConvTranspose2d(units, following, 4, 2, 1, bias=False)]
        self.main = nn.Sequential(*layers, nn.Tanh())
        self.apply(_initialised)

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = self.main(z.reshape(-1, self.latents, 1, 1))
        return images.reshape(*z.shape[:-1], *self.shape)


class Discriminator(nn.Module):
    """Maps images to vectors: convolutions that halve an image down to 4 x 4, leaky rectifiers, and an affine map.

    Arguments:
        x: An example of the data.
        outputs: Width of the result.
        channels: Channels of the first layer; each following one has twice as many.
        batch_norm: Whether all layers but the first are normalised over the batch, as in a discriminator. In a guide
            q(z | x) of one image would then depend on the others.

    Shapes:
        ``(batch, *shape)`` to ``(batch, outputs)``.

    Raises:
        ValueError: If the data are no images, or too small.
    """

    def __init__(self, x: Batch, outputs: int, channels: int = 64, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.reads = ImageAndNumbers(x)
        first, *sides = self.reads.channels, *self.reads.shape[1:]
        depth = first
        check_at_least(1, channels=channels)
        self.layers = nn.Sequential()
        while not self.layers or min(sides) > SMALL:
            units = depth * 2 if self.layers else channels
            # Sides of one stay one: padded by two, the convolution gives one again.
            height, width = (1 if side > 1 else 2 for side in sides)
            self.layers.append(nn.Conv2d(depth, units, 4, 2, (height, width), bias=not batch_norm))
            if batch_norm and depth != first:
                self.layers.append(nn.BatchNorm2d(units))
            self.layers.append(nn.LeakyReLU(SLOPE))
            depth, sides = units, [max(1, side // 2) for side in sides]
        self.last = nn.Linear(depth * prod(sides) + self.reads.others.width, outputs)
        if batch_norm:
            self.apply(_initialised)

    def forward(self, x: Batch) -> Tensor:
        h = self.layers(self.reads.images(x, self.last.weight.dtype))
        result: Tensor = self.last(self.reads.beside(h.flatten(1), x))
        return result


def encoder(network: str, x: Batch, outputs: int, channels: int, **others: Callable[[], nn.Module]) -> nn.Module:
    """Returns the encoder of a guide by name: the convolutions of a discriminator, or another network of the guide.

    Arguments:
        network: Name of the network, ``"discriminator"`` or one of ``others``.
        x: An example of the data.
        outputs: Width of the result.
        channels: Channels of the discriminator's first layer.
        others: Constructors of the other networks by name.

    Raises:
        ValueError: If there is no network of this name.
    """
    kinds = others | {"discriminator": lambda: Discriminator(x, outputs, channels)}
    if network not in kinds:
        raise ValueError(f"network must be one of {', '.join(kinds)}, got {network!r}")
    return kinds[network]()


def _initialised(module: nn.Module) -> None:
    """Initialises small random weights, as for GANs (Radford, Metz and Chintala 2016, section 3)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)

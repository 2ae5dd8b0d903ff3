"""Images drawn pixel by pixel: gated masked convolutions, and the distribution with these logits."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional

from ppl_vae.distributions.shapes import broadcast_shapes

__all__ = ["AutoregressiveBernoulli", "MaskedConvolution", "GatedPixelCNN"]


class MaskedConvolution(nn.Conv2d):
    """A convolution in which a pixel sees only those above it and to its left, and perhaps itself.

    Arguments:
        inputs: Number of input channels.
        outputs: Number of output channels.
        size: Side of the square kernel, odd.
        itself: Whether a pixel sees itself.
    """

    def __init__(self, inputs: int, outputs: int, size: int, *, itself: bool) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2)
        mask = torch.zeros(size * size)
        mask[: size * size // 2 + itself] = 1
        self.register_buffer("mask", mask.reshape(size, size), persistent=False)
        self.mask: Tensor
        with torch.no_grad():
            self.weight *= (size * size / mask.sum()).sqrt()

    def forward(self, h: Tensor) -> Tensor:
        return functional.conv2d(h, self.weight * self.mask, self.bias, padding=self.padding)


class GatedBlock(nn.Module):
    r"""A residual block of one gated masked convolution (van den Oord, Kalchbrenner, Vinyals et al. 2016, eq. 2):
    :math:`h + W (\tanh(a) \odot \sigma(b))`, where a and b are halves of a masked convolution of h.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.both = MaskedConvolution(channels, 2 * channels, size, itself=True)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        signal, gate = self.both(h).chunk(2, 1)
        result: Tensor = h + self.out(signal.tanh() * gate.sigmoid())
        return result


class GatedPixelCNN(nn.Module):
    """Logits of each pixel from the pixels above it and to its left, conditioned on the code.

    One stack of gated masked convolutions: a pixel sees as far as (size + 1) / 2 + layers (size - 1) / 2 rows up and
    columns aside, 9 by default, and of the rows just above not what lies far to its right. What the rest of an image
    says must come through the code. Channels of a colour image are drawn together, given the pixels before.

    Arguments:
        depth: Channels of an image.
        channels: Channels of the layers, and of the condition.
        layers: Number of gated blocks.
        size: Side of their kernels.
    """

    def __init__(self, depth: int, channels: int, layers: int, size: int = 5) -> None:
        super().__init__()
        self.first = MaskedConvolution(depth, channels, size + 2, itself=False)
        self.blocks = nn.Sequential(*(GatedBlock(channels, size) for _ in range(layers)))
        self.last = nn.Conv2d(channels, depth, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Logits ``(*batch, depth, height, width)``.

        Arguments:
            x: Images ``(*batch, depth, height, width)``.
            condition: Added to the first layer, ``(*batch, channels, height, width)``; both batches broadcast.
        """
        batch = broadcast_shapes(x.shape[:-3], condition.shape[:-3])
        before = self.first(x.reshape(-1, *x.shape[-3:]).contiguous(memory_format=torch.channels_last))
        before = before.reshape(*x.shape[:-3], *before.shape[1:])
        h = (before + condition).expand(*batch, *before.shape[-3:]).reshape(-1, *before.shape[-3:])
        h = self.blocks(h.contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.last(h.relu())
        return logits.reshape(*batch, *logits.shape[1:])


class AutoregressiveBernoulli(TorchDistribution):
    r"""Binary images whose pixels are drawn one after the other.

    .. math:: p(x) = \prod_i \mathrm{Bernoulli}\bigl(x_i \mid \mathrm{logit} = g_i(x_{<i})\bigr)

    A density takes one pass of the network; a draw takes one pass per pixel.

    Arguments:
        pixels: The network g.
        condition: What the network is conditioned on, ``(*batch, channels, height, width)``.
        shape: Shape of an image, ``(height, width)`` or ``(depth, height, width)``.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.boolean

    def __init__(self, pixels: GatedPixelCNN, condition: Tensor, shape: tuple[int, ...]) -> None:
        self.pixels, self.condition = pixels, condition
        self.deep = shape if len(shape) == 3 else (1, *shape)
        super().__init__(condition.shape[:-3], torch.Size(shape), validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> AutoregressiveBernoulli:
        new = copy(self)
        new._batch_shape = torch.Size(batch_shape)
        new.condition = self.condition.expand(*batch_shape, *self.condition.shape[-3:])
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        x = value.reshape(*value.shape[: value.ndim - len(self.event_shape)], *self.deep).to(self.condition)
        logits = self.pixels(x, self.condition)
        return -functional.binary_cross_entropy_with_logits(logits, x.expand(logits.shape), reduction="none").sum(
            (-3, -2, -1)
        )

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        lead = torch.Size(sample_shape) + self.batch_shape
        condition = self.condition.expand(*lead, *self.condition.shape[-3:])
        x = condition.new_zeros(*lead, *self.deep)
        for row in range(self.deep[1]):
            for column in range(self.deep[2]):
                logits = self.pixels(x, condition)[..., row, column]
                x[..., row, column] = torch.bernoulli(logits.sigmoid())
        return x.reshape(*lead, *self.event_shape)

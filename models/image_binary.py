"""Binary images: Bernoulli pixels, independent given the code or drawn one after the other, under three priors."""

from __future__ import annotations

from typing import Literal

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import Distribution

from ppl_vae.data.images import image_shape
from ppl_vae.distributions.pixelcnn import AutoregressiveBernoulli, GatedPixelCNN
from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.convolutional import ConvDecoderBody, ConvDecoderHead
from ppl_vae.nn.priors import PriorName, make_prior


class ImageBinary(PyroModule):
    r"""The families of Alemi, Poole, Fischer, Dillon, Saurous and Murphy (2018, section 4).

    .. math:: z \sim m(z), \qquad x \mid z \sim \prod_i \mathrm{Bernoulli}\bigl(\mathrm{logit} = g_i(z, x_{<i})\bigr)

    with g a deconvolutional network of z alone, or gated masked convolutions over the pixels drawn before to which the
    output of that network is added. With two guides, ``mean_field`` and ``flow``, these are their 12 families.

    Arguments:
        latents: Number of latents.
        decoder: Pixels are independent given the code (``deconvolution``), or each is drawn given those before it
            (``autoregressive``), by which the model can do without the code.
        prior: The prior m(z), the paper's marginal: ``normal``, a standard one; ``flow``, an autoregressive flow;
            ``vampprior``, a mixture of the guide's posteriors.
        channels: A quarter of the channels of the deconvolution's first layer.
        blocks: Number of residual blocks in front of the deconvolution.
        layers: Number of gated blocks of the autoregressive decoder.
        pixel_channels: Channels of each gated block.
        components: Number of components of the VampPrior.
        shape: Shape of a datum, ``(height, width)`` or ``(channels, height, width)``; the data give it.

    Raises:
        ValueError: If a number is out of range, or the data are no images.
    """

    corpus = "binarized_mnist"

    def __init__(
        self,
        latents: int = 32,
        decoder: Literal["deconvolution", "autoregressive"] = "deconvolution",
        prior: PriorName = "normal",
        channels: int = 16,
        blocks: int = 0,
        layers: int = 3,
        pixel_channels: int = 16,
        components: int = 100,
        shape: tuple[int, ...] = (28, 28),
    ) -> None:
        super().__init__()
        check_at_least(1, latents=latents, channels=channels, layers=layers, pixel_channels=pixel_channels)
        check_at_least(0, blocks=blocks)
        if decoder not in ("deconvolution", "autoregressive"):
            raise ValueError(f"unknown decoder {decoder!r}; choose deconvolution or autoregressive")
        depth, *sides = image_shape(shape)
        self.shape = tuple(shape)
        self.prior = make_prior(prior, latents, self.shape, components)
        self.pixels = GatedPixelCNN(depth, pixel_channels, layers) if decoder == "autoregressive" else None
        drawn = self.shape if self.pixels is None else (pixel_channels, *sides)
        self.deconvolution = nn.Sequential(
            ConvDecoderBody(latents, shape, channels, blocks), ConvDecoderHead(drawn, channels)
        )

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.decode(z), obs=x)

    def decode(self, z: Tensor) -> Distribution:
        """p(x given z), of batch shape ``z.shape[:-1]``."""
        decoded = self.deconvolution(z)
        if self.pixels is None:
            return dist.Bernoulli(logits=decoded).to_event(len(self.shape))
        return AutoregressiveBernoulli(self.pixels, decoded, self.shape)

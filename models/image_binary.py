"""Binary images: Bernoulli pixels, independent given the code or drawn one after the other, under three priors."""

from __future__ import annotations

from typing import Any, Literal

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule
from torch import Tensor, nn

from ppl_vae.data.images import image_shape
from ppl_vae.distributions.pixelcnn import AutoregressiveBernoulli, GatedPixelCNN
from ppl_vae.nn.convolutional import ConvDecoderBody, ConvDecoderHead
from ppl_vae.nn.priors import Marginals, make_marginal


class ImageBinary(PyroModule):
    r"""The families of Alemi, Poole, Fischer, Dillon, Saurous and Murphy (2018, section 4).

    .. math:: z \sim m(z), \qquad x \mid z \sim \prod_i \mathrm{Bernoulli}\bigl(\mathrm{logit} = g_i(z, x_{<i})\bigr)

    with g a deconvolutional network of z alone, or gated masked convolutions over the pixels drawn before to which its
    features are added. With two guides, ``mean_field`` and ``flow``, these are their 12 families.

    Arguments:
        latents: Numbers of a code.
        decoder: Pixels are independent given the code (``deconvolution``), or each is drawn given those before it
            (``autoregressive``), by which the model can do without the code.
        marginal: The prior m(z): ``normal``, a standard one; ``flow``, an autoregressive flow; ``vampprior``, a
            mixture of the guide's posteriors.
        channels: A quarter of those of the deconvolution's first layer.
        blocks: Residual blocks in front of the deconvolution.
        layers: Gated blocks of the autoregressive decoder.
        pixel_channels: Channels of each of them.
        components: Of the VampPrior.
        shape: Of a datum, ``(height, width)`` or ``(channels, height, width)``; the data give it.

    Raises:
        ValueError: If a number is out of range, or the data are no images.
    """

    corpus = "binarized_mnist"

    def __init__(
        self,
        latents: int = 32,
        decoder: Literal["deconvolution", "autoregressive"] = "deconvolution",
        marginal: Marginals = "normal",
        channels: int = 16,
        blocks: int = 0,
        layers: int = 3,
        pixel_channels: int = 16,
        components: int = 100,
        shape: tuple[int, ...] = (28, 28),
    ) -> None:
        super().__init__()
        if min(latents, channels, layers, pixel_channels) < 1 or blocks < 0:
            raise ValueError(
                f"latents, channels, layers and pixel_channels must be at least 1 and blocks at least 0, got "
                f"latents={latents}, channels={channels}, layers={layers}, pixel_channels={pixel_channels}, "
                f"blocks={blocks}"
            )
        if decoder not in ("deconvolution", "autoregressive"):
            raise ValueError(f"unknown decoder {decoder!r}; choose deconvolution or autoregressive")
        depth, *sides = image_shape(shape)
        self.shape = tuple(shape)
        self.marginal = make_marginal(marginal, latents, self.shape, components)
        self.pixels = GatedPixelCNN(depth, pixel_channels, layers) if decoder == "autoregressive" else None
        drawn = self.shape if self.pixels is None else (pixel_channels, *sides)
        self.features = nn.Sequential(
            ConvDecoderBody(latents, shape, channels, blocks), ConvDecoderHead(drawn, channels)
        )

    @property
    def met(self) -> bool | None:
        """Whether the guide is known of which the prior is made; None if it is made of none."""
        return self.marginal.met

    def meet(self, guide: nn.Module) -> None:
        """Is told of the guide that it is trained with, of whose posteriors a VampPrior is made."""
        self.marginal.meet(guide)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.marginal())
            pyro.sample("x", self.law(z), obs=x)

    def law(self, z: Tensor) -> Any:
        """p(x given z), of batch shape ``z.shape[:-1]``."""
        features = self.features(z)
        if self.pixels is None:
            return dist.Bernoulli(logits=features).to_event(len(self.shape))
        return AutoregressiveBernoulli(self.pixels, features, self.shape)

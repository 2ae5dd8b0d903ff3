"""Images that a convolutional network decodes from normal latents, with Gaussian noise."""

from __future__ import annotations

from typing import Unpack

import pyro
from torch import Tensor

from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.convolutional import ConvDecoderBody, ConvDecoderHead
from ppl_vae.nn.observation_noise import GaussianDecoder, NoiseOptions
from ppl_vae.nn.priors import StandardNormal


class Image(GaussianDecoder):
    r"""The Gaussian image model (Berger and Sebag 2020, appendix B.1).

    .. math:: z \sim \mathcal{N}(0, I_k), \qquad x \mid z \sim \mathcal{N}(\mu(z), \sigma^2)

    with the mean from an affine map, residual blocks and three transposed
    convolutions. The paper's F-VAE has sigma 0.7071 (:math:`1/\sqrt2`: squared error), its LS-VAE ``learned``, its
    LV-VAE ``vector``. Where pixels are constant, a learned sigma without a floor has no maximum likelihood;
    noise in the data (``--dequantise``) gives it one.

    Arguments:
        latents: Number k of latents.
        channels: A quarter of the channels of the residual blocks.
        blocks: Number of residual blocks.
        shape: Shape of a datum, ``(height, width)`` or ``(channels, height, width)``; the data give it.
        data_mean: Mean of each pixel; the data give it.
        data_spread: Spread of each pixel; the data give it.
        noise: Options of sigma, as of :class:`~ppl_vae.nn.observation_noise.GaussianDecoder`.

    Raises:
        ValueError: If a number is out of range, or the data are no images.
    """

    corpus = "mnist"

    def __init__(
        self,
        latents: int = 32,
        channels: int = 16,
        blocks: int = 4,
        shape: tuple[int, ...] = (28, 28),
        data_mean: Tensor | None = None,
        data_spread: Tensor | None = None,
        **noise: Unpack[NoiseOptions],
    ) -> None:
        super().__init__(**noise)
        check_at_least(1, latents=latents, channels=channels)
        check_at_least(0, blocks=blocks)
        self.latents, self.shape = latents, tuple(shape)
        self.prior = StandardNormal(latents)
        self.body = ConvDecoderBody(latents, shape, channels, blocks)
        self.head = ConvDecoderHead(shape, channels)
        self.set_units(data_mean, data_spread)
        self.set_noise(self.body.outputs)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(x, *self.decode(z)), obs=x)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and sigma of x given z, the first ``(..., *shape)``."""
        hidden = self.body(z)
        return self.in_units(self.head(hidden)), self.noise(hidden)

"""Images as a convolutional network draws them from normal numbers, with Gaussian noise."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule
from torch import Tensor

from ppl_vae.data.images import image_shape
from ppl_vae.nn.convolutional import ConvDecoderBody, ConvDecoderHead
from ppl_vae.nn.observation_noise import ObservationNoise


class Image(PyroModule):
    r"""The Gaussian image model (Berger and Sebag 2020, appendix B.1).

    .. math:: z \sim \mathcal{N}(0, I_k), \qquad x \mid z \sim \mathcal{N}(\mu(z), \sigma^2)

    with the mean made by an affine map, residual blocks and three transposed
    convolutions. The paper's F-VAE has sigma 0.7071 (:math:`1/\sqrt2`: squared error), its LS-VAE ``learned``, its
    LV-VAE ``vector``. Where pixels are constant, a learned sigma without a floor has no maximum likelihood;
    noise in the data (``--dequantise``) gives it one.

    Arguments:
        latents: How many, k.
        channels: A quarter of those of the residual blocks.
        blocks: Residual blocks.
        sigma: ``"learned"``, a scalar; ``"vector"``, one for each number of x, by the network; a number, which stays;
            or ``"schedule:RUN"``, as it was in the course of a run.
        scale: Where a learned sigma starts.
        floor: What a learned sigma cannot fall below.
        shape: Of a datum, ``(height, width)`` or ``(channels, height, width)``; the data give it.

    Raises:
        ValueError: If a number is out of range, or the data are no images.
    """

    corpus = "mnist"

    def __init__(
        self,
        latents: int = 32,
        channels: int = 16,
        blocks: int = 4,
        sigma: str = "learned",
        scale: float = 1.0,
        floor: float = 0.0,
        shape: tuple[int, ...] = (28, 28),
    ) -> None:
        super().__init__()
        if latents < 1 or channels < 1 or blocks < 0:
            raise ValueError(
                f"latents and channels must be at least 1 and blocks at least 0, got latents={latents}, "
                f"channels={channels}, blocks={blocks}"
            )
        image_shape(shape)
        self.latents, self.shape = latents, tuple(shape)
        self.features = ConvDecoderBody(latents, shape, channels, blocks)
        self.upwards = ConvDecoderHead(shape, channels)
        self.noise = ObservationNoise(sigma, self.shape, self.features.outputs, scale, floor)

    def forward(self, x: Tensor) -> None:
        prior = self.features.first.bias.new_zeros(self.latents)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(prior, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(*self.law(z)).to_event(len(self.shape)), obs=x)

    def law(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and sigma of x given z, the first ``(..., *shape)``."""
        features = self.features(z)
        return self.upwards(features), self.noise(features)

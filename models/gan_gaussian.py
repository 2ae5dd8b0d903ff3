"""Images from the generator of a GAN, with Gaussian noise."""

from __future__ import annotations

from pathlib import Path

import pyro
from torch import Tensor

from ppl_vae.nn.checkpoint import fill, read_tensors
from ppl_vae.nn.dcgan import Generator
from ppl_vae.nn.observation_noise import GaussianDecoder
from ppl_vae.nn.priors import StandardNormal


class GanGaussian(GaussianDecoder):
    r"""A GAN's generator G as a stochastic decoder (Schlesinger, Shekhovtsov and Flach 2021, section 4.2).

    .. math:: z \sim \mathcal{N}(0, I_k), \qquad x \mid z \sim \mathcal{N}(\mu(z), \sigma^2 I), \qquad
        \mu(z) = (1 + G(z)) / 2

    for images in [0, 1]; the paper's are in [-1, 1], so that its sigma of 0.05 is 0.025 here, and its log-densities
    are lower by log 2 per number. The statistics of G's batch normalisation are those it was loaded with, always: p(x
    given z) of one image does not depend on the others. ``ppl-vae generator`` trains G.

    Arguments:
        latents: Number k of latents.
        channels: Channels of the generator's last hidden layer; each one before has twice as many.
        generator: File of the generator's tensors (.safetensors); without it the weights are random.
        sigma: ``"learned"``, a scalar; ``"analytic"``, the best scalar for each batch; ``"vector"``, one per dimension
            of x, its logarithm affine in z; a number, which is fixed; or ``"schedule:RUN"``, its values over the
            epochs of a run.
        scale: Start of a learned or analytic sigma.
        floor: Lower bound of a learned, analytic or vector sigma.
        shape: Shape of a datum, ``(height, width)`` or ``(channels, height, width)`` with even sides; the data give it.

    Raises:
        ValueError: If a number is out of range, the data are no such images, or the file does not hold this
            generator, naming the first tensor that does not fit.
    """

    corpus = "mnist"

    def __init__(
        self,
        latents: int = 100,
        channels: int = 64,
        generator: str = "",
        sigma: str = "0.025",
        scale: float = 0.025,
        floor: float = 0.0,
        shape: tuple[int, ...] = (32, 32),
    ) -> None:
        super().__init__(sigma, scale, floor)
        self.latents, self.shape = latents, tuple(shape)
        self.generator = Generator(latents, shape, channels, frozen=True)
        if generator:
            file = Path(generator)
            remedy = "give --latents and --channels as it has, and images like its own (--image-size, --corpus)"
            fill(self.generator, read_tensors(file), str(file), "generator", remedy)
        self.prior = StandardNormal(latents)
        self.set_noise(latents)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(x, *self.decode(z)), obs=x)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and sigma of x given z, the first ``(..., *shape)``."""
        return (1 + self.generator(z)) / 2, self.noise(z)

"""Points around a sphere, with noise of a given size."""

from __future__ import annotations

from math import prod
from typing import Literal, Unpack

import pyro
import torch
from torch import Tensor, nn

from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.dense import HiddenLayers
from ppl_vae.nn.observation_noise import GaussianDecoder, ScaleOptions
from ppl_vae.nn.priors import StandardNormal


class Sphere(GaussianDecoder):
    r"""A Gaussian VAE whose noise is given, for data on a sphere (Berger and Sebag 2020, section 3.1).

    .. math:: z \sim \mathcal{N}(0, I_k), \qquad x \mid z \sim \mathcal{N}(f(z), \sigma^2 I)

    For points uniform on a sphere, the best distribution of the means that any decoder can make is uniform on a sphere
    of radius :func:`ppl_vae.studies.spheres.best_radius`. The decoder ``radius`` has one parameter and can make it
    exactly,

    .. math:: f(z) = r \, z / |z|,

    while ``network`` is the usual one, tanh layers and a linear one. It only comes near: it is continuous at z = 0,
    where a direction is not.

    Arguments:
        decoder: Form of f.
        latents: Number k of latents; 0 takes as many as a datum has numbers, which the decoder ``radius`` needs.
        hidden: Number of tanh layers of the network before the linear one.
        width: Units of each layer.
        sigma: A number, which is fixed; ``"learned"``, a scalar; ``"analytic"``, the best scalar for each batch;
            ``"vector"``, one per dimension of x, from z; or ``"schedule:RUN"``, its values over the epochs of a run.
            Data exactly on a sphere have no best sigma, unless ``floor`` holds it: the likelihood grows without bound
            as it falls.
        shape: Shape of a datum; the data give it.
        noise: Options of a learned sigma, as of :class:`~ppl_vae.nn.observation_noise.GaussianDecoder`.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> model, z = Sphere(), torch.tensor([[0.0, 3.0, 4.0]])
        >>> model.mean(z).tolist()
        [[0.0, 0.6000000238418579, 0.800000011920929]]
        >>> Sphere("network").mean(z).shape
        torch.Size([1, 3])
    """

    corpus = "sphere"

    def __init__(
        self,
        decoder: Literal["radius", "network"] = "radius",
        latents: int = 0,
        hidden: int = 2,
        width: int = 64,
        sigma: str = "0.5",
        shape: tuple[int, ...] = (3,),
        **noise: Unpack[ScaleOptions],
    ) -> None:
        super().__init__(sigma, **noise)
        check_at_least(0, latents=latents, hidden=hidden)
        check_at_least(1, width=width)
        size = prod(shape)
        self.latents, self.shape = latents or size, tuple(shape)
        self.prior = StandardNormal(self.latents)
        self.set_noise(self.latents)
        if decoder == "radius":
            if self.latents != size:
                raise ValueError(
                    f"the decoder 'radius' takes one latent per number of x, {size}, got latents={latents}"
                )
            self.radius = nn.Parameter(torch.tensor(1.0))
        else:
            layers = HiddenLayers(self.latents, hidden, width, nn.Tanh)
            self.network = nn.Sequential(*layers, nn.Linear(layers.outputs, size))
        self.decoder = decoder

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(x, self.mean(z), self.noise(z)), obs=x)

    def mean(self, z: Tensor) -> Tensor:
        """The mean of x given z, ``(..., *shape)``."""
        flat = self.radius * nn.functional.normalize(z, dim=-1) if self.decoder == "radius" else self.network(z)
        return flat.unflatten(-1, self.shape)

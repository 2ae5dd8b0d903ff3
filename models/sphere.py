"""Points around a sphere, with noise that is given."""

from __future__ import annotations

from math import prod
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from ppl_vae.nn.observation_noise import ObservationNoise


class Sphere(PyroModule):
    r"""A Gaussian VAE whose noise is given, for data on a sphere (Berger and Sebag 2020, section 3.1).

    .. math:: z \sim \mathcal{N}(0, I_k), \qquad x \mid z \sim \mathcal{N}(f(z), \sigma^2 I)

    The best law that any decoder can give the means, for points uniform on a sphere, is uniform on a sphere of radius
    :func:`ppl_vae.studies.spheres.best_radius`. The decoder ``radius`` has one parameter and can be that law exactly,

    .. math:: f(z) = r \, z / |z|,

    while ``network`` is the usual one, tanh layers and a linear one. It only comes near: it is continuous at z = 0,
    where a direction is not.

    Arguments:
        decoder: The form of f.
        latents: How many, k; 0 takes as many as a datum has numbers, which the decoder ``radius`` needs.
        hidden: Tanh layers of the network before the linear one; 0 leaves that alone.
        width: Units of each.
        sigma: A number, which stays; ``"learned"``, a scalar; ``"vector"``, one for each number of x, from z; or
            ``"schedule:RUN"``, as it was in the course of a run. Data that lie on a sphere exactly have no best sigma,
            unless ``floor`` holds it: the likelihood grows without bound as it falls.
        scale: Where a learned sigma starts.
        floor: What a learned sigma cannot fall below.
        shape: Of a datum; the data give it.

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
        scale: float = 1.0,
        floor: float = 0.0,
        shape: tuple[int, ...] = (3,),
    ) -> None:
        super().__init__()
        if latents < 0 or hidden < 0 or width < 1:
            raise ValueError(
                f"latents and hidden must be at least 0 and width at least 1, got latents={latents}, hidden={hidden}, "
                f"width={width}"
            )
        size = prod(shape)
        self.latents, self.shape = latents or size, tuple(shape)
        self.noise = ObservationNoise(sigma, self.shape, self.latents, scale, floor)
        if decoder == "radius":
            if self.latents != size:
                raise ValueError(f"the decoder 'radius' takes one latent a number of x, {size}, got latents={latents}")
            self.radius = nn.Parameter(torch.tensor(1.0))
        else:
            self.network = nn.Sequential()
            for inputs in [self.latents, *[width] * hidden][:hidden]:
                self.network.extend([nn.Linear(inputs, width), nn.Tanh()])
            self.network.append(nn.Linear(width if hidden else self.latents, size))
        self.decoder = decoder

    def forward(self, x: Tensor) -> None:
        prior = next(self.parameters()).new_zeros(self.latents)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(prior, 1.0).to_event(1))
            sigma = self.noise(z if self.noise.kind == "vector" else None)
            pyro.sample("x", dist.Normal(self.mean(z), sigma).to_event(len(self.shape)), obs=x)

    def mean(self, z: Tensor) -> Tensor:
        """The mean of x given z, ``(..., *shape)``."""
        flat = self.radius * nn.functional.normalize(z, dim=-1) if self.decoder == "radius" else self.network(z)
        return flat.unflatten(-1, self.shape)

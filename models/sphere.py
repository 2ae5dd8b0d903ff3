"""Points around a sphere, with noise that is not learned."""

from __future__ import annotations

from math import prod
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn


class Sphere(PyroModule):
    r"""A Gaussian VAE whose noise is given, for data on a sphere (Berger and Sebag 2020, section 3.1).

    .. math:: z \sim \mathcal{N}(0, I_k), \qquad x \mid z \sim \mathcal{N}(f(z), \sigma^2 I)

    The best law that any decoder can give the means, for points uniform on a sphere, is uniform on a sphere of radius
    :func:`ppl_vae.spheres.best_radius`. The decoder ``radius`` has one parameter and can be that law exactly,

    .. math:: f(z) = r \, z / |z|,

    while ``network`` is the usual one, tanh layers and a linear one. It only comes near: it is continuous at z = 0,
    where a direction is not.

    Arguments:
        decoder: The form of f.
        latents: How many, k; 0 takes as many as a datum has numbers, which the decoder ``radius`` needs.
        hidden: Tanh layers of the network before the linear one; 0 leaves that alone.
        width: Units of each.
        sigma: Of the noise; it stays as it is.
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
        sigma: float = 0.5,
        shape: tuple[int, ...] = (3,),
    ) -> None:
        super().__init__()
        if latents < 0 or hidden < 0 or width < 1 or not sigma > 0:
            raise ValueError(
                f"latents and hidden must be at least 0, width at least 1 and sigma positive, got latents={latents}, "
                f"hidden={hidden}, width={width}, sigma={sigma:g}"
            )
        size = prod(shape)
        self.latents, self.shape = latents or size, tuple(shape)
        self.register_buffer("sigma", torch.tensor(float(sigma)))
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
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.sigma.new_zeros(self.latents), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.mean(z), self.sigma).to_event(len(self.shape)), obs=x)

    def mean(self, z: Tensor) -> Tensor:
        """The mean of x given z, ``(..., *shape)``."""
        flat = self.radius * nn.functional.normalize(z, dim=-1) if self.decoder == "radius" else self.network(z)
        return flat.unflatten(-1, self.shape)

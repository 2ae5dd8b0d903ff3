"""Points around a sphere, with noise that is not learned."""

from __future__ import annotations

from typing import Literal

from ppl_vae.models.ppca import Ppca
from torch import Tensor, nn


class Sphere(Ppca):
    r"""A Gaussian VAE whose noise is given, for data on a sphere (Berger and Sebag 2020, section 3.1).

    .. math:: z \sim \mathcal{N}(0, I_k), \qquad x \mid z \sim \mathcal{N}(f(z), \sigma^2 I)

    Where the decoder reads the direction of z, a linear f takes the unit sphere and its uniform law to an ellipsoid.
    Among these laws is the best that any decoder can give the means for points uniform on a sphere: the uniform one on
    a sphere of radius :func:`ppl_vae.spheres.best_radius`. Where it reads all of z, f is the usual network, and only
    comes near that law: it is continuous at z = 0, where the direction is not.

    Arguments:
        latents: How many, k; 0 takes as many as a datum has numbers.
        reads: What the decoder reads of z.
        hidden: Tanh layers before the linear one.
        width: Units of each.
        sigma: Of the noise; it stays as it is.
        shape: Of a datum; the data give it.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> import torch
        >>> model = Sphere(sigma=0.2)
        >>> x = torch.eye(3)
        >>> model.mean(x).shape, torch.equal(model.mean(x), model.mean(5 * x))
        (torch.Size([3, 3]), True)
    """

    corpus = "sphere"

    def __init__(
        self,
        latents: int = 0,
        reads: Literal["direction", "all"] = "direction",
        hidden: int = 0,
        width: int = 64,
        sigma: float = 0.5,
        shape: tuple[int, ...] = (3,),
    ) -> None:
        super().__init__(latents or shape[0], hidden, width, sigma, shape)
        self.reads = reads
        self.log_scale.requires_grad_(False)

    def mean(self, z: Tensor) -> Tensor:
        """The mean of x given z, ``(..., *shape)``."""
        return super().mean(nn.functional.normalize(z, dim=-1) if self.reads == "direction" else z)

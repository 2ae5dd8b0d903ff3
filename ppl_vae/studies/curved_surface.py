"""A curved surface with noise around it, and how far any decoder is from linear."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.models.ppca import Ppca

__all__ = ["CurvedSurface", "curvature", "mesh"]


class CurvedSurface(Ppca):
    r"""The surface :math:`\mu(z) = (z_1, z_2, (z_1^2 - 1) / 2, z_1 z_2 / \sqrt2, (z_2^2 - 1) / 2)` with noise.

    Its coordinates are uncorrelated under the prior of z. The first two have variance 1; the other three have variance
    1/2 and are uncorrelated with z, so that no linear decoder explains three sevenths of the variance.

    Arguments:
        noise: Standard deviation of the noise.
    """

    def __init__(self, noise: float) -> None:
        super().__init__(2, scale=noise, shape=(5,))

    def mean(self, z: Tensor) -> Tensor:
        one, two = z.unbind(-1)
        return torch.stack([one, two, (one**2 - 1) / 2, one * two / 2**0.5, (two**2 - 1) / 2], -1)


def curvature(model: Ppca) -> Tensor:
    """Returns the share of the variance of the mean of x, under the prior, that no linear function of z explains.

    By 50,000 draws from the prior, always the same.
    """
    z = torch.randn(50_000, model.latents, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean = model.mean(z.to(model.linear.bias)).cpu().double()
    mean, z = mean - mean.mean(0), torch.cat([z, torch.ones(len(z), 1)], 1).double()
    left = mean - z @ torch.linalg.lstsq(z, mean).solution
    return left.square().sum() / mean.square().sum()


def mesh(model: Ppca) -> Tensor:
    """Returns the images of circles and spokes of the plane of two latents, ``(lines, points, *shape)``."""
    turn = torch.linspace(0, 2 * torch.pi, 97)
    circles = torch.stack([turn.cos(), turn.sin()], -1)
    rings = torch.tensor([0.5, 1.0, 1.5, 2.0])[:, None, None] * circles
    spokes = circles[:-1:12, None] * torch.linspace(0, 2, 97)[:, None]
    with torch.no_grad():
        return model.mean(torch.cat([rings, spokes]).to(model.linear.bias))

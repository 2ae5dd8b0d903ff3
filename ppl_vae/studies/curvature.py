"""How curved the surface is on which a decoder places the means of the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["curvature", "mesh", "surface"]


class MeanDecoder(Protocol):
    """A model with standard normal latents, and the mean of x given them."""

    latents: int

    def mean(self, z: Tensor, /) -> Tensor: ...

    def parameters(self) -> Iterator[Tensor]: ...


def surface(z: Tensor) -> Tensor:
    r"""A curved surface in five dimensions, :math:`(z_1, z_2, (z_1^2 - 1) / 2, z_1 z_2 / \sqrt2, (z_2^2 - 1) / 2)`.

    Its coordinates are uncorrelated under a standard normal z. The first two have variance 1; the other three have
    variance 1/2 and are uncorrelated with z, so that no linear decoder explains three sevenths of the variance.

    Arguments:
        z: Places on it, ``(..., 2)``.
    """
    one, two = z.unbind(-1)
    return torch.stack([one, two, (one**2 - 1) / 2, one * two / 2**0.5, (two**2 - 1) / 2], -1)


def curvature(model: MeanDecoder) -> Tensor:
    """Returns the share of the variance of the mean of x, under the prior, that no linear function of z explains.

    Arguments:
        model: The model. 50,000 draws are taken from its prior, always the same.
    """
    z = torch.randn(50_000, model.latents, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean = model.mean(z.to(next(model.parameters()))).cpu().double()
    mean, z = mean - mean.mean(0), torch.cat([z, torch.ones(len(z), 1)], 1).double()
    left = mean - z @ torch.linalg.lstsq(z, mean).solution
    share: Tensor = left.square().sum() / mean.square().sum()
    return share


def mesh(model: MeanDecoder) -> Tensor:
    """Returns the means of x on circles and spokes of the plane of two latents, ``(lines, points, *shape)``."""
    turn = torch.linspace(0, 2 * torch.pi, 97)
    circles = torch.stack([turn.cos(), turn.sin()], -1)
    rings = torch.tensor([0.5, 1.0, 1.5, 2.0])[:, None, None] * circles
    spokes = circles[:-1:12, None] * torch.linspace(0, 2, 97)[:, None]
    with torch.no_grad():
        lines: Tensor = model.mean(torch.cat([rings, spokes]).to(next(model.parameters())))
    return lines

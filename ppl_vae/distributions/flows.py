"""Autoregressive flows of zuko as Pyro's distributions; zuko is imported where a flow is built."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import Tensor, nn
from torch.distributions import constraints

__all__ = ["FlowDistribution", "autoregressive_steps", "normalizing_flow"]


def autoregressive_steps(size: int, transforms: int, units: int, context: int = 0) -> nn.ModuleList:
    """Affine autoregressive maps that start as the identity, with alternating orders of the coordinates.

    Arguments:
        size: Length of the vectors that are mapped.
        transforms: Number of maps.
        units: Units of both hidden layers of each map's masked network (Papamakarios, Pavlakou and Murray 2017).
        context: Length of the vector on which the maps are conditioned.
    """
    from zuko.flows import MaskedAutoregressiveTransform

    orders = [torch.arange(size), torch.arange(size).flip(0)]
    steps = nn.ModuleList(
        MaskedAutoregressiveTransform(size, context, order=orders[t % 2], hidden_features=(units, units))
        for t in range(transforms)
    )
    for step in steps:
        # A single number without context has no network before it.
        last = step.hyper[-1] if hasattr(step, "hyper") else step.phi  # type: ignore[index]
        for parameter in last.parameters():  # type: ignore[union-attr]
            nn.init.zeros_(parameter)
    return steps


class FlowDistribution(ZukoToPyro):
    """Pyro's wrapper of zuko's flows, which keeps the density of each draw, with a support and shapes of samples."""

    support = constraints.real_vector

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        result: Tensor = self.dist.rsample(torch.Size(sample_shape))
        return result

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> FlowDistribution:
        return FlowDistribution(self.dist.expand(torch.Size(batch_shape)))


def normalizing_flow(
    steps: nn.ModuleList, loc: Tensor, scale: Tensor, context: Tensor | None = None, *, inverse: bool = False
) -> FlowDistribution:
    """The distribution of vectors that maps carry to independent normals.

    Arguments:
        steps: The maps, of :func:`autoregressive_steps`, from values to normals: a density takes one pass, a draw one
            pass per number.
        loc: Means of the normals, ``(*batch, size)``.
        scale: Standard deviations of the normals.
        context: What the maps are conditioned on, ``(*batch, context)``.
        inverse: Whether the maps go from normals to values instead: a draw and its density then take one pass
            (Kingma et al. 2016), the density of any other value one pass per number.
    """
    from zuko.distributions import DiagNormal, NormalizingFlow
    from zuko.transforms import ComposedTransform

    transform = ComposedTransform(*(step(context) for step in steps))
    return FlowDistribution(NormalizingFlow(transform.inv if inverse else transform, DiagNormal(loc, scale)))

"""Autoregressive flows of zuko as Pyro's distributions."""

from __future__ import annotations

from typing import Any

import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import Tensor, nn
from torch.distributions import constraints
from zuko.flows import MaskedAutoregressiveTransform

__all__ = ["Flowed", "autoregressive_steps"]


def autoregressive_steps(size: int, transforms: int, units: int, context: int = 0) -> nn.ModuleList:
    """Affine autoregressive maps that begin as the identity, in the order of the numbers and its reverse by turns.

    Arguments:
        size: Numbers that are mapped.
        transforms: How many maps.
        units: Of both hidden layers of each map's masked network (Papamakarios, Pavlakou and Murray 2017).
        context: Numbers that tell the networks more.
    """
    orders = [torch.arange(size), torch.arange(size).flip(0)]
    steps = nn.ModuleList(
        MaskedAutoregressiveTransform(size, context, order=orders[t % 2], hidden_features=(units, units))
        for t in range(transforms)
    )
    for step in steps:
        # A single number without context has no network before it.
        last: Any = step.hyper[-1] if hasattr(step, "hyper") else step.phi  # type: ignore[index]
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
    return steps


class Flowed(ZukoToPyro):
    """Pyro's wrapper of Zuko's flows, which keeps the density of each draw, with what it lacks of a distribution."""

    support = constraints.real_vector

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        drawn: Tensor = self.dist.rsample(torch.Size(sample_shape))
        return drawn

    def expand(self, batch_shape: Any, _instance: Any = None) -> Flowed:
        return Flowed(self.dist.expand(torch.Size(batch_shape)))

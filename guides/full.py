"""The guide without independence assumptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from zuko.nn import MaskedMLP

from ppl_vae.bits import AutoregressiveBits, JointBits, bit_states
from ppl_vae.guide import AmortisedGuide, independent, parameters, reshaped
from ppl_vae.networks import Encoder, FirstLayer

JOINT_BITS = 12
"""Longest code whose joint states, 4,096, each get a logit of their own."""


class Full(AmortisedGuide):
    r"""The exact family where that is affordable, autoregressive beyond it.

    Up to 12 bits every joint state has its own logit; longer codes are drawn bit by bit, each from a masked
    network of the bits before it (Germain, Gregor, Murray and Larochelle 2015); a normal latent has a full
    covariance matrix; a single categorical is its own exact family. In every case the parameters of
    ``mean_field`` are one part, so that its family is contained in this one.

    Arguments:
        model: The generative model, with one latent site: Bernoulli, categorical or normal.
        x: An example batch.
        layers: Hidden ReLU layers of the network over the data, at least one.
        width: Units of each.
    """

    supports = ("Bernoulli", "categorical", "one-hot categorical", "normal")

    def __init__(self, model: Callable[[Any], Any], x: Any, layers: int = 2, width: int = 512) -> None:
        super().__init__(model, x)
        if len(self.latents) > 1:
            names = ", ".join(repr(latent.name) for latent in self.latents)
            raise ValueError(f"Full supports one latent site, but the model has {names}; use mean_field")
        if layers < 1:
            raise ValueError(f"Full needs at least one hidden layer, got layers={layers}")
        latent = self.latents[0]
        if "categorical" in latent.family and latent.size > max(1, latent.states * (latent.family[0] == "o")):
            raise ValueError(
                f"Full supports a single categorical a datum, but site {latent.name!r} has several; use mean_field"
            )
        self.latent = latent
        self.linear = FirstLayer(x, parameters(latent), reads="counts")
        self.trunk = nn.Sequential(Encoder(x, width, layers - 1, width, reads="frequencies"), nn.ReLU())
        self.natural = nn.Linear(width, parameters(latent))
        if latent.family == "Bernoulli" and latent.size <= JOINT_BITS:
            self.coupling: nn.Module = nn.Linear(width, 2**latent.size)
        elif latent.family == "Bernoulli":
            context = 64
            before = torch.ones(latent.size, latent.size).tril(-1)
            adjacency = torch.cat([before, torch.ones(latent.size, context)], 1).bool()
            self.context = nn.Linear(width, context)
            self.coupling = MaskedMLP(adjacency, hidden_features=(4 * latent.size,), activation=nn.ReLU)
        elif latent.family == "normal":
            self.coupling = nn.Linear(width, latent.size * (latent.size - 1) // 2)
        self._start_factorised()

    def _start_factorised(self) -> None:
        last = (
            self.coupling[-1]
            if isinstance(getattr(self, "coupling", None), nn.Sequential)
            else getattr(self, "coupling", None)
        )
        if last is not None:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Any) -> None:
        seen = self.trunk(x)
        natural = self.linear(x) + self.natural(seen)
        with pyro.plate("data", len(x)):
            pyro.sample(self.latent.name, self._posterior(natural, seen))

    def _posterior(self, natural: Tensor, seen: Tensor) -> Any:
        latent = self.latent
        if "categorical" in latent.family:
            return independent(latent, natural)
        if latent.family == "normal":
            correlated = replace(latent, family="multivariate normal")
            return independent(correlated, torch.cat([natural, self.coupling(seen)], -1))
        if latent.size <= JOINT_BITS:
            states = bit_states(latent.size, like=natural)
            return JointBits(natural @ states.T + self.coupling(seen), latent.shape)
        network = partial(self._logits, natural, self.context(seen))
        return reshaped(AutoregressiveBits(network, natural.shape[:-1], latent.size, natural), latent.shape)

    def _logits(self, natural: Tensor, context: Tensor, code: Tensor) -> Tensor:
        lead = torch.broadcast_shapes(code.shape[:-1], context.shape[:-1])
        both = torch.cat([code.expand(*lead, -1), context.expand(*lead, -1)], -1)
        logits: Tensor = natural + self.coupling(both)
        return logits

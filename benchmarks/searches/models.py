"""Random small models with guides that know nothing, and log p(x, z) of their latents in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.special import expit
from torch import Tensor

from benchmarks.searches.oracle import best_bits, best_normal, codes

__all__ = ["KINDS", "Case", "make"]


@dataclass(frozen=True)
class Case:
    """A pair, data that its model generates, and the best member of the guide's family for each.

    Arguments:
        model: The model.
        guide: Its guide, of independent latents.
        x: The data.
        best: ELBO of the best member of each datum, in nats.
    """

    model: Callable[..., None]
    guide: Callable[..., None]
    x: Tensor
    best: np.ndarray


def _decoded(random: np.random.Generator, bits: int, kind: str) -> tuple[np.ndarray, float]:
    """Means of the observation for each code, ``(codes, numbers)``, and its deviation."""
    every, signs = codes(bits), 2 * codes(bits) - 1
    scale = float(random.uniform(0.2, 1.2))
    if kind == "points":  # no relation between neighbours
        return random.normal(size=(len(every), 2)), scale
    if kind == "couplings":  # from nearly additive to couplings alone
        strength = random.choice([0.1, 0.5, 1.0, 3.0])
        maps = random.normal(size=(bits, bits, 3)) * strength / bits
        return signs @ random.normal(size=(bits, 3)) + np.einsum("si,ijk,sj->sk", signs, maps, signs), scale
    gain = float(random.uniform(0.5, 4))  # a network
    hidden = np.tanh(every @ (gain * random.normal(size=(bits, 6))) + random.normal(size=6))
    return hidden @ random.normal(size=(6, 4)), scale


def _bits(random: np.random.Generator, kind: str, data: int, most_bits: int) -> Case:
    bits = int(random.integers(1, most_bits + 1))
    centres, scale = _decoded(random, bits, kind)
    logits = random.normal(size=bits) * random.choice([0.0, 1.0])
    every = codes(bits)
    prior = every @ logits - np.logaddexp(0, logits).sum()
    drawn = (random.random((data, bits)) < expit(logits)) @ 2 ** np.arange(bits)[::-1]
    x = centres[drawn] + scale * random.normal(size=(data, centres.shape[1]))
    away = ((x[:, None] - centres) ** 2).sum(-1) / scale**2
    tables = prior - 0.5 * away - centres.shape[1] * np.log(scale * np.sqrt(2 * np.pi))
    table, weights, of_prior = torch.tensor(centres), torch.tensor(2 ** np.arange(bits)[::-1]), torch.tensor(logits)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=of_prior).to_event(1))
            pyro.sample("x", dist.Normal(table[(z.long() * weights).sum(-1)], scale).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=0.3 * x[..., :1].expand(len(x), bits)).to_event(1))

    return Case(model, guide, torch.tensor(x), np.array([best_bits(row, random) for row in tables]))


def _normal(random: np.random.Generator, data: int) -> Case:
    """One normal latent behind a wave or a parabola: the posterior has several modes."""
    height, slope, phase, scale = (float(random.uniform(*ends)) for ends in ((1, 3), (0.5, 4), (-2, 2), (0.15, 1)))
    wave = bool(random.integers(2))

    def mean(z, sin):  # noqa: ANN001, ANN202  # of arrays or of tensors
        return height * sin(slope * z + phase) if wave else slope * z * z + phase * z

    x = mean(random.normal(size=data), np.sin) + scale * random.normal(size=data)

    def log_joint(of: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda z: -0.5 * z**2 - 0.5 * ((of - mean(z, np.sin)) / scale) ** 2 - np.log(scale) - np.log(2 * np.pi)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(mean(z, torch.sin), scale), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.2 * x, 0.5))

    return Case(model, guide, torch.tensor(x), np.array([best_normal(log_joint(each)) for each in x]))


KINDS = ("points", "couplings", "network", "normal")
"""Kinds of models."""


def make(kind: str, seed: int, data: int, most_bits: int = 8) -> Case:
    """A random model of a kind, with data and their best members."""
    random = np.random.default_rng([KINDS.index(kind), seed])
    return _normal(random, data) if kind == "normal" else _bits(random, kind, data, most_bits)

"""What the benchmark knows of a model without this package: its evidence, and the moments of its posterior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.special import gammaln, logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor

from benchmarks.structures.structure import Array, bernoulli_log_prob, normal_log_prob

__all__ = [
    "BernoulliFactor",
    "Bits",
    "Grid",
    "LinearGaussian",
    "Moments",
    "Oracle",
    "PoissonFactor",
    "RareBit",
    "TwoModes",
    "tensor",
]

Moments = tuple[Array, Array]
"""Means and standard deviations, ``(data, dimensions)`` each; of bits the probabilities and nothing of use."""


def tensor(values: Array) -> Tensor:
    """The numbers in single precision."""
    return torch.as_tensor(values).float()


class Oracle(ABC):
    """A model in Pyro, and in NumPy its evidence and its posterior's moments.

    Arguments:
        seed: Seed of its parameters and of its data.
    """

    bits = False
    """Whether the latents are bits."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    @abstractmethod
    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        """Data drawn from the model; from latents that are ``stretch`` times as far out, where they are numbers."""

    @abstractmethod
    def evidence(self, x: Array) -> Array:
        """log p(x) of each datum, in nats."""

    @abstractmethod
    def posterior(self, x: Array, highest: bool = False) -> Moments:
        """Moments of the posterior; of the half around its highest point alone if asked."""

    @abstractmethod
    def prior(self) -> Moments:
        """Moments of the prior, ``(1, dimensions)``."""

    @abstractmethod
    def model(self, x: Tensor) -> None:
        """The model in Pyro."""

    def propose(self, mean: Tensor, deviation: Tensor) -> None:
        """Draws the latents of a guide from independent normals, ``(data, dimensions)``."""
        pyro.sample("z", dist.Normal(mean[..., 0], deviation[..., 0]))


class Grid(Oracle):
    """A model of one or two real latents, whose integrals are sums over a grid.

    Arguments:
        seed: Seed of its parameters and of its data.
    """

    points: Array = np.linspace(-12, 12, 2401)[:, None]
    """Points, ``(points, dimensions)``."""

    @abstractmethod
    def log_mass(self) -> Array:
        """Log of the prior's mass at the points, ``(points,)``."""

    @abstractmethod
    def log_likelihood(self, x: Array) -> Array:
        """log p(x given z) at the points, ``(points, data)``."""

    def joint(self, x: Array) -> Array:
        return self.log_mass()[:, None] + self.log_likelihood(x)

    def evidence(self, x: Array) -> Array:
        return np.concatenate([logsumexp(self.joint(x[i : i + 50]), axis=0) for i in range(0, len(x), 50)])

    def posterior(self, x: Array, highest: bool = False) -> Moments:
        joint = self.joint(x)
        mass = np.exp(joint - joint.max(0))
        mean = self._mean(mass)
        if highest:
            top = self.points[joint.argmax(0)] - mean
            side = np.einsum("pk,dk->pd", self.points, top) >= (mean * top).sum(-1)
            mass = mass * side
            mean = self._mean(mass)
        square = self._mean(mass, self.points**2)
        return mean, np.sqrt(np.maximum(square - mean**2, 1e-6))

    def prior(self) -> Moments:
        mass = np.exp(self.log_mass())[:, None]
        mean = self._mean(mass)
        return mean, np.sqrt(self._mean(mass, self.points**2) - mean**2)

    def _mean(self, mass: Array, values: Array | None = None) -> Array:
        values = self.points if values is None else values
        return (mass.T @ values) / mass.sum(0)[:, None]


def normal_mass(points: Array, scale: float = 1.0) -> Array:
    """Log of a normal's mass at evenly spaced points, ``(points, 1)``."""
    return normal_log_prob(points[:, 0], 0.0, scale) + np.log(points[1, 0] - points[0, 0])


class LinearGaussian(Grid):
    """Five numbers that are linear in one normal latent."""

    points = np.linspace(-8, 8, 401)[:, None]

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.loading = self.rng.normal(size=5)

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        z = stretch * self.rng.normal(size=(count, 1))
        return tensor(z * self.loading + 0.5 * self.rng.normal(size=(count, 5)))

    def evidence(self, x: Array) -> Array:
        covariance = np.outer(self.loading, self.loading) + 0.25 * np.eye(5)
        return np.atleast_1d(multivariate_normal(np.zeros(5), covariance).logpdf(x))

    def log_mass(self) -> Array:
        return normal_mass(self.points)

    def log_likelihood(self, x: Array) -> Array:
        return normal_log_prob(x, self.points[:, None] * self.loading, 0.5).sum(-1)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None] * tensor(self.loading), 0.5).to_event(1), obs=x)


class BernoulliFactor(Grid):
    """Eight bits whose logits are linear in one normal latent."""

    points = np.linspace(-8, 8, 401)[:, None]

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.loading, self.bias = 2 * self.rng.normal(size=8), self.rng.normal(size=8)

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        logits = stretch * self.rng.normal(size=(count, 1)) * self.loading + self.bias
        return tensor(self.rng.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits)))

    def log_mass(self) -> Array:
        return normal_mass(self.points)

    def log_likelihood(self, x: Array) -> Array:
        return bernoulli_log_prob(x, self.points[:, None] * self.loading + self.bias)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            logits = z[..., None] * tensor(self.loading) + tensor(self.bias)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)


class PoissonFactor(Grid):
    """Six counts whose log-rates are linear in one normal latent."""

    points = np.linspace(-8, 8, 401)[:, None]

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.loading, self.bias = 0.7 * self.rng.normal(size=6), 0.5 + 0.5 * self.rng.normal(size=6)

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        rates = np.exp(stretch * self.rng.normal(size=(count, 1)) * self.loading + self.bias)
        return tensor(self.rng.poisson(rates))

    def log_mass(self) -> Array:
        return normal_mass(self.points)

    def log_likelihood(self, x: Array) -> Array:
        log_rate = self.points[:, None] * self.loading + self.bias
        return (x * log_rate - np.exp(log_rate) - gammaln(x + 1)).sum(-1)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            rate = (z[..., None] * tensor(self.loading) + tensor(self.bias)).exp()
            pyro.sample("x", dist.Poisson(rate).to_event(1), obs=x)


class TwoModes(Grid):
    """The square of a latent, seen with noise: a posterior of two modes."""

    points = np.linspace(-14, 14, 2801)[:, None]

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        z = 2 * stretch * self.rng.normal(size=count)
        return tensor(z**2 + 0.4 * self.rng.normal(size=count))

    def log_mass(self) -> Array:
        return normal_mass(self.points, 2.0)

    def log_likelihood(self, x: Array) -> Array:
        return normal_log_prob(x, self.points**2, 0.4)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0))
            pyro.sample("x", dist.Normal(z**2, 0.4), obs=x)


class Bits(Oracle):
    """Numbers whose means are linear in a few bits.

    Arguments:
        seed: Seed of its parameters and of its data.
        count: Number of bits.
        loading: Standard deviation of the loadings.
    """

    bits = True

    def __init__(self, seed: int = 0, count: int = 4, loading: float = 1.0) -> None:
        super().__init__(seed)
        self.probabilities = self.rng.uniform(0.2, 0.8, size=count)
        self.loading = loading * self.rng.normal(size=(count, 4))
        self.codes = np.array(list(product((0.0, 1.0), repeat=count)))

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        bits = self.rng.uniform(size=(count, len(self.probabilities))) < self.probabilities
        return tensor(bits @ self.loading + stretch * self.rng.normal(size=(count, 4)))

    def joint(self, x: Array) -> Array:
        log_odds = self.codes * np.log(self.probabilities) + (1 - self.codes) * np.log1p(-self.probabilities)
        return log_odds.sum(-1)[:, None] + normal_log_prob(x, (self.codes @ self.loading)[:, None], 1.0).sum(-1)

    def evidence(self, x: Array) -> Array:
        return logsumexp(self.joint(x), axis=0)

    def posterior(self, x: Array, highest: bool = False) -> Moments:
        joint = self.joint(x)
        mass = np.exp(joint - logsumexp(joint, axis=0))
        if highest:
            # The half of the codes that shares a bit with the highest: the bit that is least certain.
            top, mean = self.codes[joint.argmax(0)], mass.T @ self.codes
            unsure = np.abs(mean - 0.5).argmin(1)
            chosen = self.codes[:, unsure] == top[np.arange(len(top)), unsure]
            mass = mass * chosen / (mass * chosen).sum(0)
        mean = mass.T @ self.codes
        return mean, np.ones_like(mean)

    def prior(self) -> Moments:
        return self.probabilities[None], np.ones((1, len(self.probabilities)))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(tensor(self.probabilities)).to_event(1))
            pyro.sample("x", dist.Normal(z @ tensor(self.loading), 1.0).to_event(1), obs=x)

    def propose(self, mean: Tensor, deviation: Tensor) -> None:
        pyro.sample("z", dist.Bernoulli(logits=torch.logit(mean.double(), eps=1e-12).float()).to_event(1))


class RareBit(Bits):
    """Bits of which the last is rare and moves the data far."""

    def __init__(self, seed: int = 0, count: int = 4, rare: float = 0.02, jump: float = 4.0) -> None:
        super().__init__(seed, count)
        self.probabilities[-1], self.loading[-1] = rare, jump

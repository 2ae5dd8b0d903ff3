"""Models whose evidence NumPy knows, with guides that are good, shifted, narrow, wide, or blind to a part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.special import gammaln, logsumexp
from scipy.stats import multivariate_normal, t
from torch import Tensor

from benchmarks.structures.structure import Array, bernoulli_log_prob, normal_log_prob

__all__ = ["GUIDES", "ORACLES", "Oracle"]

GUIDES = {"good": (0.0, 1.1), "shifted": (1.0, 1.0), "narrow": (0.0, 0.4), "wide": (0.0, 3.0)}
"""Shift in posterior standard deviations, and factor of the standard deviation."""


class Oracle(ABC):
    """A model of one-dimensional or discrete latents, and what is known about it.

    Arguments:
        seed: Seed of its parameters.
    """

    guides: tuple[str, ...] = tuple(GUIDES)

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    @abstractmethod
    def data(self, count: int) -> Tensor:
        """Data drawn from the model."""

    @abstractmethod
    def evidence(self, x: Array) -> Array:
        """log p(x) of each datum, in nats."""

    @abstractmethod
    def model(self, x: Tensor) -> None:
        """The model in Pyro."""

    @abstractmethod
    def guide(self, x: Tensor) -> None:
        """The guide in Pyro, of the kind ``self.kind``."""

    kind = "good"

    def draw(self, loc: Array, scale: Array) -> None:
        """Draws the latent of a guide whose posterior has these moments, ``(data,)``."""
        shift, factor = GUIDES[self.kind]
        mean, deviation = torch.as_tensor(loc + shift * scale), torch.as_tensor(scale * factor)
        with pyro.plate("data", len(mean)):
            pyro.sample("z", dist.Normal(mean.float(), deviation.float()))


class _Grid(Oracle):
    """A model of one real latent, its evidence by the trapezoid rule."""

    points = np.linspace(-12, 12, 2401)

    def log_prior(self) -> Array:
        return normal_log_prob(self.points, 0.0, 1.0)

    @abstractmethod
    def log_likelihood(self, x: Array) -> Array:
        """log p(x given z) at the points, ``(points, data)``."""

    def joint(self, x: Array) -> Array:
        step = self.points[1] - self.points[0]
        return self.log_prior()[:, None] + np.log(step) + self.log_likelihood(x)

    def evidence(self, x: Array) -> Array:
        return logsumexp(self.joint(x), axis=0)

    def guide(self, x: Tensor) -> None:
        joint = self.joint(x.double().numpy())
        posterior = np.exp(joint - logsumexp(joint, axis=0))
        loc = self.points @ posterior
        self.draw(loc, np.sqrt((self.points**2) @ posterior - loc**2))


class LinearGaussian(_Grid):
    """Five numbers that are linear in one normal latent."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.loading = self.rng.normal(size=5)

    def data(self, count: int) -> Tensor:
        z = self.rng.normal(size=(count, 1))
        return torch.as_tensor(z * self.loading + 0.5 * self.rng.normal(size=(count, 5))).float()

    def evidence(self, x: Array) -> Array:
        covariance = np.outer(self.loading, self.loading) + 0.25 * np.eye(5)
        return multivariate_normal(np.zeros(5), covariance).logpdf(x)

    def log_likelihood(self, x: Array) -> Array:
        return normal_log_prob(x, self.points[:, None, None] * self.loading, 0.5).sum(-1)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            loc = z[..., None] * torch.as_tensor(self.loading).float()
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)


class BernoulliFactor(_Grid):
    """Eight bits whose logits are linear in one normal latent."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.loading, self.bias = 2 * self.rng.normal(size=8), self.rng.normal(size=8)

    def data(self, count: int) -> Tensor:
        logits = self.rng.normal(size=(count, 1)) * self.loading + self.bias
        return torch.as_tensor(self.rng.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits))).float()

    def log_likelihood(self, x: Array) -> Array:
        logits = self.points[:, None, None] * self.loading + self.bias
        return bernoulli_log_prob(x, logits)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            logits = z[..., None] * torch.as_tensor(self.loading).float() + torch.as_tensor(self.bias).float()
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)


class PoissonFactor(_Grid):
    """Six counts whose log-rates are linear in one normal latent."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.loading, self.bias = 0.7 * self.rng.normal(size=6), 0.5 + 0.5 * self.rng.normal(size=6)

    def data(self, count: int) -> Tensor:
        rates = np.exp(self.rng.normal(size=(count, 1)) * self.loading + self.bias)
        return torch.as_tensor(self.rng.poisson(rates)).float()

    def log_likelihood(self, x: Array) -> Array:
        log_rate = self.points[:, None, None] * self.loading + self.bias
        return (x * log_rate - np.exp(log_rate) - gammaln(x + 1)).sum(-1)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            rate = (z[..., None] * torch.as_tensor(self.loading).float() + torch.as_tensor(self.bias).float()).exp()
            pyro.sample("x", dist.Poisson(rate).to_event(1), obs=x)


class TwoModes(_Grid):
    """The square of a latent, seen with noise: a posterior of two modes, of which a blind guide knows one."""

    guides = ("blind",)
    points = np.linspace(-14, 14, 5601)

    def log_prior(self) -> Array:
        return normal_log_prob(self.points, 0.0, 2.0)

    def data(self, count: int) -> Tensor:
        return torch.as_tensor((2 * self.rng.normal(size=count)) ** 2 + 0.4 * self.rng.normal(size=count)).float()

    def log_likelihood(self, x: Array) -> Array:
        return normal_log_prob(x, self.points[:, None] ** 2, 0.4)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0))
            pyro.sample("x", dist.Normal(z**2, 0.4), obs=x)

    def guide(self, x: Tensor) -> None:
        root = x.clamp(min=0.05).sqrt()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(root, 0.3 / root.clamp(min=0.5)))


class RareBit(Oracle):
    """Three common bits and one of probability 0.02 that moves the data far; a blind guide never draws it."""

    guides = ("fair", "blind")

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.loading = np.vstack([self.rng.normal(size=(3, 4)), 4 + np.zeros((1, 4))])
        self.prior = np.array([0.5, 0.5, 0.5, 0.02])

    def data(self, count: int) -> Tensor:
        bits = self.rng.uniform(size=(count, 4)) < self.prior
        return torch.as_tensor(bits @ self.loading + self.rng.normal(size=(count, 4))).float()

    def joint(self, x: Array) -> tuple[Array, Array]:
        codes = np.array(list(product((0.0, 1.0), repeat=4)))
        prior = (codes * np.log(self.prior) + (1 - codes) * np.log1p(-self.prior)).sum(-1)
        return codes, prior[:, None] + normal_log_prob(x, (codes @ self.loading)[:, None], 1.0).sum(-1)

    def evidence(self, x: Array) -> Array:
        return logsumexp(self.joint(x)[1], axis=0)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.as_tensor(self.prior).float()).to_event(1))
            pyro.sample("x", dist.Normal(z @ torch.as_tensor(self.loading).float(), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        codes, joint = self.joint(x.double().numpy())
        mean = np.exp(joint - logsumexp(joint, axis=0)).T @ codes
        if self.kind == "blind":
            mean[:, 3] = 1e-5
        probabilities = torch.as_tensor(mean).float().clamp(1e-5, 1 - 1e-5)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(probabilities).to_event(1))


class HeavyTails(_Grid):
    """A latent of Student's t with three degrees of freedom, guides being normal."""

    points = np.concatenate([np.linspace(-300, -12, 3000), np.linspace(-12, 12, 2401), np.linspace(12, 300, 3000)])

    def log_prior(self) -> Array:
        return t(3).logpdf(self.points)

    def joint(self, x: Array) -> Array:
        widths = np.gradient(self.points)
        return self.log_prior()[:, None] + np.log(widths)[:, None] + self.log_likelihood(x)

    def data(self, count: int) -> Tensor:
        return torch.as_tensor(self.rng.standard_t(3, size=count) + 2 * self.rng.standard_t(3, size=count)).float()

    def log_likelihood(self, x: Array) -> Array:
        return t(3).logpdf((x - self.points[:, None]) / 2) - np.log(2)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.StudentT(3.0, 0.0, 1.0))
            pyro.sample("x", dist.StudentT(3.0, z, 2.0), obs=x)


class Funnel(Oracle):
    """Neal's funnel: the logarithm of a scale, and a number of that scale, of which a noisy value is seen."""

    guides = ("factorised",)

    def data(self, count: int) -> Tensor:
        v = 1.5 * self.rng.normal(size=count)
        return torch.as_tensor(np.exp(v) * self.rng.normal(size=count) + 0.3 * self.rng.normal(size=count)).float()

    def evidence(self, x: Array) -> Array:
        v = np.linspace(-12, 12, 4801)
        scale = np.sqrt(np.exp(2 * v) + 0.09)
        log_weight = normal_log_prob(v, 0.0, 1.5) + np.log(v[1] - v[0])
        return logsumexp(log_weight[:, None] + normal_log_prob(x, 0.0, scale[:, None]), axis=0)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            v = pyro.sample("v", dist.Normal(0.0, 1.5))
            w = pyro.sample("w", dist.Normal(0.0, v.exp()))
            pyro.sample("x", dist.Normal(w, 0.3), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("v", dist.Normal((x.abs() + 0.3).log(), 1.0))
            pyro.sample("w", dist.Normal(x, 0.3))


ORACLES: tuple[type[Oracle], ...] = (
    LinearGaussian,
    BernoulliFactor,
    PoissonFactor,
    TwoModes,
    RareBit,
    HeavyTails,
    Funnel,
)

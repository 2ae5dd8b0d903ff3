"""Nastier models whose evidence NumPy knows: curves, correlation, heavy tails, a step, a bit the guide never sees."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.special import ndtr
from scipy.stats import t
from torch import Tensor

from benchmarks.coverage.oracles import Bits, Grid, Moments, normal_mass, tensor
from benchmarks.structures.structure import Array, normal_grid, normal_log_prob

__all__ = ["Curve", "HeavyTails", "Plane", "Step", "Unseen"]


class Curve(Grid):
    """A few numbers that are a curved function of one normal latent, seen with noise."""

    points = np.linspace(-9, 9, 3601)[:, None]
    shapes = (
        lambda z: z,
        lambda z: z**2 - 1,
        lambda z: (2 * z).sin() if isinstance(z, Tensor) else np.sin(2 * z),
        lambda z: abs(z),
        lambda z: z**3 / 3,
    )

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.loading = self.rng.uniform(0.5, 2, size=self.rng.integers(1, 4)) * self.rng.choice([-1, 1])
        self.noise = float(np.exp(self.rng.uniform(np.log(0.15), 0)))
        self.shape = self.shapes[self.rng.integers(len(self.shapes))]

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        z = stretch * self.rng.normal(size=(count, 1))
        return tensor(self.shape(z) * self.loading + self.noise * self.rng.normal(size=(count, len(self.loading))))

    def log_mass(self) -> Array:
        return normal_mass(self.points)

    def log_likelihood(self, x: Array) -> Array:
        return normal_log_prob(x, self.shape(self.points)[:, None] * self.loading, self.noise).sum(-1)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            loc = self.shape(z)[..., None] * tensor(self.loading)
            pyro.sample("x", dist.Normal(loc, self.noise).to_event(1), obs=x)


class Plane(Grid):
    """Three numbers that are linear in two normal latents, or curved in the first: a correlated posterior."""

    points, mass = normal_grid(2, 161, 7.0)

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        direction = self.rng.normal(size=3)
        self.loading = np.stack([direction, direction + 0.5 * self.rng.normal(size=3)])
        self.noise, self.bend = self.rng.uniform(0.3, 1), self.rng.choice([0.0, 0.5])

    def _loc(self, z: Array) -> Array:
        bent = np.stack([z[:, 0], z[:, 1] + self.bend * z[:, 0] ** 2], -1)
        return bent @ self.loading

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        z = stretch * self.rng.normal(size=(count, 2))
        return tensor(self._loc(z) + self.noise * self.rng.normal(size=(count, 3)))

    def log_mass(self) -> Array:
        return self.mass

    def log_likelihood(self, x: Array) -> Array:
        loc = self._loc(self.points)
        return sum(normal_log_prob(x[:, i], loc[:, None, i], self.noise) for i in range(3))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            bent = torch.stack([z[..., 0], z[..., 1] + self.bend * z[..., 0] ** 2], -1)
            pyro.sample("x", dist.Normal(bent @ tensor(self.loading), self.noise).to_event(1), obs=x)

    def propose(self, mean: Tensor, deviation: Tensor) -> None:
        pyro.sample("z", dist.Normal(mean, deviation).to_event(1))


class HeavyTails(Grid):
    """A latent and an observation of Student's t with few degrees of freedom (one: Cauchy's)."""

    points = np.sinh(np.linspace(-9, 9, 6001))[:, None]

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.tails, self.noise = float(self.rng.choice([1, 2, 3])), float(self.rng.uniform(0.5, 2))

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        z, noise = self.rng.standard_t(self.tails, size=(2, count))
        return tensor(np.clip(stretch * z + self.noise * noise, -200, 200))

    def log_mass(self) -> Array:
        return t(self.tails).logpdf(self.points[:, 0]) + np.log(np.gradient(self.points[:, 0]))

    def log_likelihood(self, x: Array) -> Array:
        return t(self.tails).logpdf((x - self.points) / self.noise) - np.log(self.noise)

    def prior(self) -> Moments:
        return np.zeros((1, 1)), np.full((1, 1), 2.0)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.StudentT(self.tails, 0.0, 1.0))
            pyro.sample("x", dist.StudentT(self.tails, z, self.noise), obs=x)


class Step(Grid):
    """A number that jumps where a normal latent passes a threshold; the prior as the guide has constant weights.

    Half of the data, or the only one, lie beyond the jump.
    """

    points = np.linspace(-9, 9, 18001)[:, None]

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.threshold, self.jump = self.rng.uniform(1.5, 4), self.rng.uniform(4, 8)

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        return tensor(self.jump * (np.arange(count) % 2 == 0) + self.rng.normal(size=count))

    def evidence(self, x: Array) -> Array:
        beyond = np.log(ndtr(-self.threshold)) + normal_log_prob(x, self.jump, 1.0)
        return np.logaddexp(beyond, np.log(ndtr(self.threshold)) + normal_log_prob(x, 0.0, 1.0))

    def log_mass(self) -> Array:
        return normal_mass(self.points)

    def log_likelihood(self, x: Array) -> Array:
        return normal_log_prob(x, self.jump * (self.points > self.threshold), 1.0)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(self.jump * (z > self.threshold), 1.0), obs=x)


class Unseen(Bits):
    """Bits of which the data show the last alone, which is rare: a guide without it has constant weights.

    Half of the data, or the only one, have that bit.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed, 3)
        self.probabilities[-1] = np.exp(self.rng.uniform(np.log(0.0005), np.log(0.05)))
        self.loading[:-1], self.loading[-1] = 0, self.rng.uniform(1, 5)

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        rare = np.arange(count) % 2 == 0
        return tensor(rare[:, None] * self.loading[-1] + self.rng.normal(size=(count, 4)))

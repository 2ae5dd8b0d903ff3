"""Models of several latents whose evidence NumPy knows: many modes, labels that switch, a funnel, a spike and slab."""

from __future__ import annotations

from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.special import logsumexp
from torch import Tensor

from benchmarks.coverage.oracles import Moments, Oracle, TwoModes, tensor
from benchmarks.structures.structure import Array, normal_log_prob

__all__ = ["EightModes", "Funnel", "Labels", "SpikeAndSlab"]


class Labels(Oracle):
    """Two centres of a mixture and five of its points: a posterior that is the same with the centres swapped.

    Given which point is of which centre, all is normal: sums over the 32 ways are exact.
    """

    ways = np.array(list(product((0.0, 1.0), repeat=5)))

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.spread = self.rng.uniform(2, 4)

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        centres = stretch * self.spread * self.rng.normal(size=(count, 2))
        chosen = np.take_along_axis(centres, self.rng.integers(2, size=(count, 5)), 1)
        return tensor(chosen + self.rng.normal(size=(count, 5)))

    def _each(self, x: Array) -> tuple[Array, Array, Array]:
        """log p(way, x), ``(ways, data)``, and the centres' moments given both, ``(ways, data, 2)``, ``(ways, 2)``."""
        members = np.stack([self.ways, 1 - self.ways], 1)  # (ways, 2, 5)
        variance = 1 / (1 / self.spread**2 + members.sum(-1))
        sums = np.einsum("wkj,dj->wdk", members, x)
        log_mass = 0.5 * (np.log(variance / self.spread**2)[:, None] + variance[:, None] * sums**2).sum(-1)
        return log_mass - 5 * np.log(2) + normal_log_prob(x, 0.0, 1.0).sum(-1), variance[:, None] * sums, variance

    def evidence(self, x: Array) -> Array:
        return logsumexp(self._each(x)[0], axis=0)

    def posterior(self, x: Array, highest: bool = False) -> Moments:
        joint, means, variances = self._each(x)
        if highest:
            ways = np.arange(32)[:, None]
            joint = np.where(ways == joint[:16].argmax(0), joint, -np.inf)  # the other 16 are the same, swapped
        mass = np.exp(joint - logsumexp(joint, axis=0))
        mean = np.einsum("wd,wdk->dk", mass, means)
        square = np.einsum("wd,wdk->dk", mass, means**2 + variances[:, None])
        return mean, np.sqrt(square - mean**2)

    def prior(self) -> Moments:
        return np.zeros((1, 2)), np.full((1, 2), self.spread)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), self.spread).to_event(1))
            parts = dist.Normal(z[..., None, :].expand(*z.shape[:-1], 5, 2), 1.0)
            each = dist.MixtureSameFamily(dist.Categorical(torch.ones(parts.batch_shape)), parts)
            pyro.sample("x", each.to_event(1), obs=x)

    def propose(self, mean: Tensor, deviation: Tensor) -> None:
        pyro.sample("z", dist.Normal(mean, deviation).to_event(1))


class EightModes(Oracle):
    """Eight latents, each seen through its square: a posterior of 256 modes, its evidence a sum of eight."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.each = TwoModes(seed)

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        return torch.stack([self.each.data(count, stretch) for _ in range(8)], -1)

    def evidence(self, x: Array) -> Array:
        return self.each.evidence(x.reshape(-1)).reshape(-1, 8).sum(-1)

    def posterior(self, x: Array, highest: bool = False) -> Moments:
        mean, deviation = self.each.posterior(x.reshape(-1), highest)
        return mean.reshape(-1, 8), deviation.reshape(-1, 8)

    def prior(self) -> Moments:
        return np.zeros((1, 8)), np.full((1, 8), 2.0)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(8), 2.0).to_event(1))
            pyro.sample("x", dist.Normal(z**2, 0.4).to_event(1), obs=x)

    def propose(self, mean: Tensor, deviation: Tensor) -> None:
        pyro.sample("z", dist.Normal(mean, deviation).to_event(1))


class Funnel(Oracle):
    """Neal's funnel: the logarithm of a scale, and a number of that scale, of which a noisy value is seen."""

    v = np.linspace(-12, 12, 2401)

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        v = 1.5 * stretch * self.rng.normal(size=count)
        return tensor(np.exp(v) * self.rng.normal(size=count) + 0.3 * self.rng.normal(size=count))

    def joint(self, x: Array) -> Array:
        scale = np.sqrt(np.exp(2 * self.v) + 0.09)[:, None]
        log_mass = normal_log_prob(self.v, 0.0, 1.5) + np.log(self.v[1] - self.v[0])
        return log_mass[:, None] + normal_log_prob(x, 0.0, scale)

    def evidence(self, x: Array) -> Array:
        return logsumexp(self.joint(x), axis=0)

    def posterior(self, x: Array, highest: bool = False) -> Moments:
        mass = np.exp(self.joint(x) - self.evidence(x))
        share = (np.exp(2 * self.v) / (np.exp(2 * self.v) + 0.09))[:, None]  # of w given v and x
        means, squares = (self.v[:, None], share * x), (self.v[:, None] ** 2, share * 0.09 + (share * x) ** 2)
        mean = np.stack([(mass * value).sum(0) for value in means], -1)
        square = np.stack([(mass * value).sum(0) for value in squares], -1)
        return mean, np.sqrt(square - mean**2)

    def prior(self) -> Moments:
        return np.zeros((1, 2)), np.array([[1.5, np.exp(1.5**2)]])

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            v = pyro.sample("v", dist.Normal(0.0, 1.5))
            w = pyro.sample("w", dist.Normal(0.0, v.exp()))
            pyro.sample("x", dist.Normal(w, 0.3), obs=x)

    def propose(self, mean: Tensor, deviation: Tensor) -> None:
        pyro.sample("v", dist.Normal(mean[..., 0], deviation[..., 0]))
        pyro.sample("w", dist.Normal(mean[..., 1], deviation[..., 1]))


class SpikeAndSlab(Oracle):
    """A coefficient that is zero unless a bit is one, and four noisy values of it."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.on, self.slab = self.rng.uniform(0.05, 0.5), self.rng.uniform(1, 4)

    def data(self, count: int, stretch: float = 1.0) -> Tensor:
        w = (self.rng.uniform(size=count) < self.on) * self.slab * stretch * self.rng.normal(size=count)
        return tensor(w[:, None] + self.rng.normal(size=(count, 4)))

    def _each(self, x: Array) -> tuple[Array, Array]:
        off = normal_log_prob(x, 0.0, 1.0).sum(-1)
        variance = self.slab**2 / (1 + 4 * self.slab**2)  # of w given the bit and x
        on = off + 0.5 * np.log(variance / self.slab**2) + 0.5 * variance * x.sum(-1) ** 2
        return np.log1p(-self.on) + off, np.log(self.on) + on

    def evidence(self, x: Array) -> Array:
        return np.logaddexp(*self._each(x))

    def posterior(self, x: Array, highest: bool = False) -> Moments:
        off, on = self._each(x)
        variance = self.slab**2 / (1 + 4 * self.slab**2)
        share = np.exp(on - np.logaddexp(off, on))
        share = np.where(share > 0.5, 1.0, 0.0) if highest else share
        mean = share * variance * x.sum(-1)
        square = share * (variance + (variance * x.sum(-1)) ** 2) + (1 - share) * self.slab**2
        return np.stack([share, mean], -1), np.stack([np.ones_like(mean), np.sqrt(square - mean**2)], -1)

    def prior(self) -> Moments:
        return np.array([[self.on, 0.0]]), np.array([[1.0, self.slab]])

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            on = pyro.sample("on", dist.Bernoulli(float(self.on)))
            w = pyro.sample("w", dist.Normal(0.0, float(self.slab)))
            pyro.sample("x", dist.Normal((on * w)[..., None].expand(*w.shape, 4), 1.0).to_event(1), obs=x)

    def propose(self, mean: Tensor, deviation: Tensor) -> None:
        pyro.sample("on", dist.Bernoulli(mean[..., 0].clamp(1e-6, 1 - 1e-6)))
        pyro.sample("w", dist.Normal(mean[..., 1], deviation[..., 1]))

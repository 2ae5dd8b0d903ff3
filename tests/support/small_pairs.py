"""Small pairs, of the package and stock Pyro, that tests share."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.text import Text
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.data.counts import PackedCounts
from ppl_vae.programs.amortised import AmortisedGuide
from ppl_vae.programs.types import Program


def documents(count: int = 5, vocabulary: int = 7) -> PackedCounts:
    """Random documents; every one has at least one word."""
    dense = torch.randint(0, 3, (count, vocabulary))
    dense[:, 0] += 1
    return PackedCounts.from_dense(dense)


def text_pair(
    bits: int = 3, hidden: int = 0, guide: type[AmortisedGuide] = MeanField, scale: float = 1.0
) -> tuple[Text, AmortisedGuide, PackedCounts]:
    """A small model of documents whose last weights are multiplied by a scale, a guide and documents."""
    x = documents(9, 11)
    model = Text(11, bits=bits, hidden=hidden, width=8)
    model.words.weight.data *= scale
    return model, guide(model, x, width=8), x


def uninformative_bits(logits: Tensor) -> tuple[Program, Program]:
    """A model of two bits that explain nothing, and a guide with the logits given."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(0 * z[..., 0], 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))

    return model, guide


def copies_of(parameters: Sequence[Tensor], count: int, data: int) -> tuple[list[Tensor], list[Tensor]]:
    """Copies ``(count, *shape)`` of parameters, and the same for each datum of so many batches in a row."""
    leaves = [p.detach().expand(count, *p.shape).clone().requires_grad_() for p in parameters]
    return leaves, [p[:, None].expand(count, data, *p.shape[1:]).flatten(0, 1) for p in leaves]


def number_with_noise(noise=1.0):
    """A model of one standard normal per datum, seen with noise: x is normal with variance 1 + noise^2."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, noise), obs=x)

    return model


class BitsOfPoints:
    """A stock Pyro pair: bits explain points by a non-linear map, and a linear guide guesses them."""

    def __init__(self, bits: int, chained: bool = False) -> None:
        self.bits, self.chained = bits, chained
        self.map = torch.randn(bits, 3)
        self.noise = torch.nn.Parameter(torch.zeros(3))
        self.weight = torch.nn.Parameter(torch.randn(3, bits))
        self.parameters = (self.noise, self.weight)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3 * torch.ones(self.bits)).to_event(1))
            pyro.sample("x", dist.Normal(torch.tanh(2 * z @ self.map), self.noise.exp()).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            logits = (x[:, None] @ self.weight).squeeze(-2)  # with one weight for all data, or one for each
            pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))

    def gradient(self, objective: Any, x: Tensor) -> Tensor:
        for parameter in self.parameters:
            parameter.grad = None
        objective.loss_and_grads(self.model, self.guide, x)
        return torch.cat([p.grad.flatten() for p in self.parameters if p.grad is not None])

    def gradients(self, objective: Any, x: Tensor, count: int) -> Tensor:
        """Independent estimates ``(count, parameters)``: of one batch of copies, which have parameters of their own."""
        pair = copy(self)
        parameters, (pair.noise, pair.weight) = copies_of(self.parameters, count, len(x))
        objective.loss_and_grads(pair.model, pair.guide, x.repeat(count, 1))
        return torch.cat([p.grad.flatten(1) for p in parameters if p.grad is not None], -1)


class LinearGaussian:
    """A linear Gaussian model with its evidence in closed form, its posterior, and a guide that is neither."""

    def __init__(self, latents: int, observed: int = 4, noise: float = 0.5) -> None:
        self.map, self.offset, self.noise = torch.randn(latents, observed), torch.randn(observed), noise
        self.weight = 0.3 * torch.randn(observed, latents)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(self.map)), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.map + self.offset, self.noise).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x - self.offset) @ self.weight, 0.8).to_event(1))

    def posterior(self, x: Tensor) -> None:
        precision = torch.eye(len(self.map)) + self.map @ self.map.T / self.noise**2
        mean = (x - self.offset) @ self.map.T / self.noise**2 @ torch.linalg.inv(precision)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(mean, precision_matrix=precision))

    def evidence(self, x: Tensor) -> Tensor:
        covariance = self.map.T @ self.map + self.noise**2 * torch.eye(len(self.offset))
        return dist.MultivariateNormal(self.offset, covariance).log_prob(x)

    def simulate(self, count: int) -> tuple[Tensor, Tensor]:
        """Latents and data drawn from the model."""
        z = torch.randn(count, len(self.map))
        return z, z @ self.map + self.offset + self.noise * torch.randn(count, len(self.offset))


class Term(TorchDistribution):
    """A distribution with a given log-density, whatever the value."""

    support = constraints.real
    arg_constraints = {}

    def __init__(self, log_density):
        self.log_density = log_density
        super().__init__(log_density.shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return Term(self.log_density.expand(batch_shape))

    def sample(self, sample_shape=()):
        return self.log_density.new_zeros(self._extended_shape(sample_shape))

    def log_prob(self, value):
        return self.log_density

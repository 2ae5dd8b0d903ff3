"""Pairs with log p(x) by NumPy and SciPy, for every evidence method."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text
from scipy import stats
from scipy.special import logsumexp

from tests.support.small_pairs import BitsOfPoints, LinearGaussian, documents

DATA = 10


@dataclass
class Case:
    """A pair, its data, and log p(x) of each datum by other means."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    x: Any
    oracle: np.ndarray


def linear_gaussian(latents: int) -> Case:
    pair = LinearGaussian(latents)
    x = pair.simulate(DATA)[1]
    covariance = pair.map.T.numpy() @ pair.map.numpy() + pair.noise**2 * np.eye(4)
    precision = torch.eye(latents) + pair.map @ pair.map.T / pair.noise**2

    def guide(x):
        """The posterior, half again as wide in variance and a little aside."""
        mean = 0.05 + (x - pair.offset) @ pair.map.T / pair.noise**2 @ torch.linalg.inv(precision)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(mean, precision_matrix=precision / 1.5))

    return Case(pair.model, guide, x, stats.multivariate_normal(pair.offset.numpy(), covariance).logpdf(x.numpy()))


def bits() -> Case:
    pair = BitsOfPoints(3)
    pair.weight.data *= 0.3
    x, noise = torch.randn(DATA, 3), np.exp(pair.noise.detach().numpy())
    terms = [
        sum(np.log(0.3 if bit else 0.7) for bit in code)
        + stats.norm(np.tanh(2 * np.array(code) @ pair.map.numpy()), noise).logpdf(x.numpy()).sum(-1)
        for code in product([0, 1], repeat=3)
    ]
    return Case(pair.model, pair.guide, x, logsumexp(terms, 0))


def mixture() -> Case:
    weights, means = np.array([0.5, 0.2, 0.3]), np.array([-1.0, 0.5, 2.0])

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.tensor(weights)))
            pyro.sample("x", dist.Normal(torch.tensor(means)[k], 0.7), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(logits=x[:, None] * torch.tensor([-0.5, 0.1, 0.8])))

    x = torch.randn(DATA)
    terms = np.log(weights) + stats.norm(means, 0.7).logpdf(x.numpy()[:, None])
    return Case(model, guide, x, logsumexp(terms, -1))


def text() -> Case:
    x = documents(DATA, 6)
    model = Text(6, bits=3)
    weight, bias = model.words.weight.detach().numpy(), model.words.bias.detach().numpy()
    dense = x.to_csr().toarray()
    terms = []
    for code in product([0, 1], repeat=3):
        logits = weight @ np.array(code) + bias
        frequencies = np.exp(logits - logsumexp(logits))
        terms.append(stats.multinomial.logpmf(dense, dense.sum(-1), frequencies) - 3 * np.log(2))
    return Case(model, LinearCounts(model, x), x, logsumexp(terms, 0))


def one_bit_and_a_number(x):
    with pyro.plate("data", len(x)):
        b = pyro.sample("b", dist.Bernoulli(0.3))
        z = pyro.sample("z", dist.Normal(2 * b, 1.0))
        pyro.sample("x", dist.Normal(z + b, 0.5), obs=x)


def bit_and_number() -> Case:
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Bernoulli(logits=x - 1.5))
            pyro.sample("z", dist.Normal(0.7 * x, 1.0))

    x = torch.randn(DATA) + 1
    terms = [np.log(share) + stats.norm(3 * b, 1.25**0.5).logpdf(x.numpy()) for b, share in ((0, 0.7), (1, 0.3))]
    return Case(one_bit_and_a_number, guide, x, logsumexp(terms, 0))


def mixture_along_a_curve() -> Case:
    """A categorical latent, a number given it, and points."""
    weights, means = np.array([0.4, 0.6]), np.array([-2.0, 1.0])

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.tensor(weights)))
            w = pyro.sample("w", dist.Normal(torch.tensor(means)[k], 0.6))
            along = (1.5 * w).sin()
            pyro.sample("x", dist.Normal(torch.stack([along, -along / 2], -1), 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=x[:, :1] * torch.tensor([-1.0, 1.0])))
            pyro.sample("w", dist.Normal(0.5 * x[:, 0] + 0.5 * torch.tensor(means)[k], 0.8))

    x = torch.randn(DATA, 2)
    w = np.linspace(-9, 9, 4001)
    along = np.sin(1.5 * w)
    prior = logsumexp(np.log(weights) + stats.norm(means, 0.6).logpdf(w[:, None]), -1)
    places = np.stack([along, -along / 2], -1)[:, None]
    likelihood = stats.norm(places, 0.5).logpdf(x.numpy()).sum(-1)
    return Case(model, guide, x, logsumexp(likelihood + prior[:, None], 0) + np.log(w[1] - w[0]))


def gamma_poisson() -> Case:
    def model(x):
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
            pyro.sample("x", dist.Poisson(rate), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.Gamma(1.5 + x, 1.2))

    x = torch.poisson(torch.full((DATA,), 4.0))
    return Case(model, guide, x, stats.nbinom(2, 1 / 3).logpmf(x.numpy()))


def counts() -> Case:
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Poisson(2.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Poisson(1 + x.abs()))

    x, z = torch.randn(DATA) + 2, np.arange(60)
    terms = stats.poisson(2).logpmf(z) + stats.norm(z, 1).logpdf(x.numpy()[:, None])
    return Case(model, guide, x, logsumexp(terms, -1))


CASES = {
    "linear Gaussian, 2 latents": lambda: linear_gaussian(2),
    "linear Gaussian, 3 latents": lambda: linear_gaussian(3),
    "bits": bits,
    "mixture": mixture,
    "text": text,
    "bit and number": bit_and_number,
    "mixture along a curve": mixture_along_a_curve,
    "gamma-Poisson": gamma_poisson,
    "counts": counts,
}

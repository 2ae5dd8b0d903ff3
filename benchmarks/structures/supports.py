"""Latents and data of other supports: circles, intervals, positive numbers, overdispersed counts, integers."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy import integrate, stats
from scipy.special import gammaln, log_softmax
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional

from benchmarks.structures.structure import Array, Structure, array, log_mean, normal_grid, normal_log_prob

__all__ = ["STRUCTURES"]

DATA = 8


def _affine(layer: nn.Linear, points: Array) -> Array:
    return points @ array(layer.weight).T + array(layer.bias)


def direction() -> Structure:
    """A hyperspherical latent on the circle."""
    x = torch.randn(DATA, 3)
    decoder, encoder = nn.Linear(2, 3), nn.Linear(3, 2)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.ProjectedNormal(torch.zeros(2)))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.ProjectedNormal(encoder(x)))

    def truth() -> Array:
        angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
        mean = _affine(decoder, np.stack([np.cos(angle), np.sin(angle)], 1))
        return log_mean(np.full(2000, -np.log(2000)), normal_log_prob(array(x), mean[:, None], 0.5).sum(-1))

    return Structure("direction on a circle", "`ProjectedNormal` latent and guide", model, guide, (x,), truth)


def weibull() -> Structure:
    x = torch.randint(0, 6, (DATA, 4)).float()
    encoder = nn.Linear(4, 2)

    def model(x: Tensor) -> None:
        rates = pyro.param("rates", 1 + torch.rand(4), constraint=constraints.positive)
        with pyro.plate("documents", len(x)):
            theta = pyro.sample("theta", dist.Gamma(torch.full((1,), 1.5), torch.ones(1)).to_event(1))
            pyro.sample("x", dist.Poisson(theta * rates).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("documents", len(x)):
            scale, shape = functional.softplus(encoder(x)).chunk(2, -1)
            pyro.sample("theta", dist.Weibull(scale + 0.1, shape + 0.5).to_event(1))

    def truth() -> Array:
        rates, counts = array(pyro.param("rates")), array(x)
        shape, total = 1.5 + counts.sum(1), rates.sum()
        known = (counts * np.log(rates) - gammaln(counts + 1)).sum(1)
        return known + gammaln(shape) - gammaln(1.5) - shape * np.log(1 + total)

    return Structure("gamma factor, Weibull guide", "`Gamma` latent, `Weibull` guide", model, guide, (x,), truth)


def stick() -> Structure:
    """The share of a stick, by a guide that Pyro's stick-breaking VAEs take for its reparameterised draws."""
    x = torch.randn(DATA, 3)
    decoder, encoder = nn.Linear(2, 3), nn.Linear(3, 2)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            v = pyro.sample("v", dist.Beta(torch.ones(1), 3 * torch.ones(1)).to_event(1))
            pyro.sample("x", dist.Normal(decoder(torch.cat([v, 1 - v], -1)), 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            a, b = functional.softplus(encoder(x)).chunk(2, -1)
            pyro.sample("v", dist.Kumaraswamy(a + 0.5, b + 0.5).to_event(1))

    def truth() -> Array:
        uniform = (np.arange(20_000) + 0.5) / 20_000
        v = 1 - (1 - uniform) ** (1 / 3)
        mean = _affine(decoder, np.stack([v, 1 - v], 1))
        return log_mean(np.full(20_000, -np.log(20_000)), normal_log_prob(array(x), mean[:, None], 0.5).sum(-1))

    return Structure("stick breaking", "`Beta` latent, `Kumaraswamy` guide", model, guide, (x,), truth)


def interval() -> Structure:
    x = torch.randn(DATA, 2)
    decoder, encoder = nn.Linear(1, 2), nn.Linear(2, 2)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Uniform(-torch.ones(1), 2 * torch.ones(1)).to_event(1))
            pyro.sample("x", dist.Laplace(decoder(u), 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            a, b = functional.softplus(encoder(x)).chunk(2, -1)
            stretch = dist.transforms.AffineTransform(-1.0, 3.0)
            pyro.sample("u", dist.TransformedDistribution(dist.Beta(a + 0.5, b + 0.5), [stretch]).to_event(1))

    def truth() -> Array:
        u = -1 + 3 * (np.arange(20_000)[:, None] + 0.5) / 20_000
        density = stats.laplace(_affine(decoder, u)[:, None], 0.5).logpdf(array(x))
        return log_mean(np.full(20_000, -np.log(20_000)), density.sum(-1))

    return Structure(
        "latent in an interval",
        "`Uniform` latent, stretched `Beta` as the guide, `Laplace` data",
        model,
        guide,
        (x,),
        truth,
    )


def horseshoe() -> Structure:
    """A scale with a heavy tail of its own for each datum."""
    x = 3 * torch.randn(DATA)
    encoder = nn.Linear(1, 4)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            scale = pyro.sample("scale", dist.HalfCauchy(torch.tensor(1.0)))
            w = pyro.sample("w", dist.Normal(torch.zeros(()), scale))
            pyro.sample("x", dist.Normal(w, 0.5), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale, w, log_deviation = encoder(x[:, None] / 10).unbind(-1)
            pyro.sample("scale", dist.LogNormal(loc, log_scale.exp()))
            pyro.sample("w", dist.Normal(w, log_deviation.exp()))

    def truth() -> Array:
        def given(angle: float, value: float) -> float:
            return float(stats.norm(0, np.hypot(np.tan(angle), 0.5)).pdf(value)) * 2 / np.pi

        integrals = [integrate.quad(given, 0, np.pi / 2, args=(value,), epsabs=1e-12)[0] for value in array(x)]
        return np.log(integrals)

    return Structure("horseshoe", "`HalfCauchy` scale of a normal latent", model, guide, (x,), truth)


def overdispersed() -> Structure:
    trials, y = torch.full((DATA, 3), 10.0), torch.randint(0, 11, (DATA, 3)).float()
    decoder, encoder = nn.Linear(1, 6), nn.Linear(3, 2)

    def model(trials: Tensor, y: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            a, b = decoder(z).exp().chunk(2, -1)
            pyro.sample("y", dist.BetaBinomial(a, b, total_count=trials).to_event(1), obs=y)

    def guide(trials: Tensor, y: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(y)):
            loc, log_scale = encoder(y / trials).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def truth() -> Array:
        points, weights = normal_grid(1, 1001)
        a, b = np.split(np.exp(_affine(decoder, points))[:, None], 2, -1)
        return log_mean(weights, stats.betabinom(10, a, b).logpmf(array(y)).sum(-1))

    return Structure("overdispersed proportions", "`BetaBinomial` of given trials", model, guide, (trials, y), truth)


def zero_inflated_cells() -> Structure:
    """The likelihood of scVI: gates and means by networks, a dispersion per gene, the library size an input."""
    x = torch.distributions.NegativeBinomial(3.0, torch.tensor(0.4)).sample((DATA, 4)) * (torch.rand(DATA, 4) < 0.7)
    library = x.sum(-1, keepdim=True) + 1
    decoder, gates, encoder = nn.Linear(1, 4), nn.Linear(1, 4), nn.Linear(4, 2)

    def model(x: Tensor, library: Tensor) -> None:
        pyro.module("decoder", decoder)
        pyro.module("gates", gates)
        theta = pyro.param("inverse_dispersion", 2 * torch.ones(4), constraint=constraints.positive)
        with pyro.plate("cells", len(x)), pyro.poutine.scale(scale=1.0 / x.shape[1]):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            mean = library * decoder(z).softmax(-1)
            counts = dist.ZeroInflatedNegativeBinomial(
                total_count=theta, logits=mean.log() - theta.log(), gate_logits=gates(z), validate_args=False
            )
            pyro.sample("x", counts.to_event(1), obs=x)

    def guide(x: Tensor, library: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("cells", len(x)), pyro.poutine.scale(scale=1.0 / x.shape[1]):
            loc, log_scale = encoder(x.log1p()).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def truth() -> Array:
        points, weights = normal_grid(1, 1001)
        theta, counts, gate = array(pyro.param("inverse_dispersion")), array(x), _affine(gates, points)[:, None]
        mean = array(library) * np.exp(log_softmax(_affine(decoder, points), -1))[:, None]
        present = stats.nbinom(theta, theta / (theta + mean)).logpmf(counts) - np.logaddexp(0, gate)
        absent = np.where(counts == 0, -np.logaddexp(0, -gate), -np.inf)
        return log_mean(weights, np.logaddexp(present, absent).sum(-1))

    return Structure(
        "zero-inflated single cells",
        "`ZeroInflatedNegativeBinomial` with networks, `poutine.scale(1 / genes)`",
        model,
        guide,
        (x, library),
        truth,
    )


def integers() -> Structure:
    counts, kind, flag = torch.randint(0, 5, (DATA, 3)), torch.randint(0, 4, (DATA,)), torch.rand(DATA) < 0.5
    rate, logit, yes, encoder = nn.Linear(1, 3), nn.Linear(1, 4), nn.Linear(1, 1), nn.Linear(3, 2)

    def model(counts: Tensor, kind: Tensor, flag: Tensor) -> None:
        for name, layer in {"rate": rate, "logit": logit, "yes": yes}.items():
            pyro.module(name, layer)
        with pyro.plate("data", len(counts)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("counts", dist.Poisson(rate(z).exp()).to_event(1), obs=counts)
            pyro.sample("kind", dist.Categorical(logits=logit(z)), obs=kind)
            pyro.sample("flag", dist.Bernoulli(logits=yes(z).squeeze(-1)), obs=flag.float())

    def guide(counts: Tensor, kind: Tensor, flag: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(counts)):
            loc, log_scale = encoder(counts.float().log1p()).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def truth() -> Array:
        points, weights = normal_grid(1, 1001)
        density = stats.poisson(np.exp(_affine(rate, points))[:, None]).logpmf(array(counts)).sum(-1)
        density = density + log_softmax(_affine(logit, points), -1)[:, kind.numpy()]
        logits = _affine(yes, points)
        return log_mean(weights, density + flag.numpy() * logits - np.logaddexp(0, logits))

    return Structure(
        "counts, classes and flags", "arguments of integers and booleans", model, guide, (counts, kind, flag), truth
    )


STRUCTURES = (
    direction,
    weibull,
    stick,
    interval,
    horseshoe,
    overdispersed,
    zero_inflated_cells,
    integers,
)

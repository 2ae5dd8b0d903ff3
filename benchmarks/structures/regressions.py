"""Regressions with a latent for each datum: ordered answers, counts, survival, proportions, sparse codes."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from scipy.special import expit, log_softmax, logsumexp
from scipy.stats import betabinom, laplace, multivariate_normal, nbinom
from torch import Tensor, nn

from benchmarks.structures.structure import Array, Structure, array, log_mean, normal_grid, normal_log_prob

__all__ = ["STRUCTURES"]

DATA, WIDTH = 10, 4


def _normal(encoder: nn.Linear, x: Tensor) -> dist.Normal:
    loc, scale = encoder(x).chunk(2, -1)
    return dist.Normal(loc[..., 0], scale[..., 0].exp())


def ordered_answers() -> Structure:
    answers, slope = torch.randint(3, (DATA, WIDTH)), nn.Parameter(torch.randn(WIDTH))
    cuts, encoder = torch.tensor([-0.5, 1.0]), nn.Linear(WIDTH, 2)

    def model(answers: Tensor) -> None:
        with pyro.plate("people", len(answers)):
            trait = pyro.sample("trait", dist.Normal(0.0, 1.0))
            predictor = trait[..., None] * pyro.param("slope", slope)
            pyro.sample("answers", dist.OrderedLogistic(predictor, cuts).to_event(1), obs=answers)

    def guide(answers: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("people", len(answers)):
            pyro.sample("trait", _normal(encoder, answers.float()))

    def truth() -> Array:
        points, weights = normal_grid(1, 1001)
        below = expit(array(cuts) - (points * array(slope))[..., None])
        mass = np.diff(below, axis=-1, prepend=0.0, append=1.0)
        seen = answers.numpy()
        return log_mean(weights, np.log(mass[:, np.arange(WIDTH), seen[:, None]][:, :, 0]).sum(-1))

    return Structure("ordered answers", "`OrderedLogistic` with a trait per person", model, guide, (answers,), truth)


def overdispersed_counts() -> Structure:
    x, exposure = torch.randn(DATA, 2), torch.rand(DATA) + 0.5
    y = torch.poisson(3 * exposure)
    beta, log_size, encoder = nn.Parameter(torch.randn(2)), nn.Parameter(torch.tensor(0.5)), nn.Linear(4, 2)

    def model(x: Tensor, exposure: Tensor, y: Tensor) -> None:
        with pyro.plate("regions", len(x)):
            effect = pyro.sample("effect", dist.Normal(0.0, 0.8))
            log_mean = x @ pyro.param("beta", beta) + effect + exposure.log()
            size = pyro.param("log_size", log_size)
            pyro.sample("y", dist.NegativeBinomial(size.exp(), logits=log_mean - size), obs=y)

    def guide(x: Tensor, exposure: Tensor, y: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("regions", len(x)):
            pyro.sample("effect", _normal(encoder, torch.cat([x, exposure[:, None], y[:, None]], -1)))

    def truth() -> Array:
        points, weights = normal_grid(1, 1001)
        logits = array(x) @ array(beta) + 0.8 * points + np.log(array(exposure)) - array(log_size)
        return log_mean(weights, nbinom(np.exp(array(log_size)), 1 - expit(logits)).logpmf(array(y)))

    form = "`NegativeBinomial`, `model(x, exposure, y)`, an effect per region"
    return Structure("counts with exposure", form, model, guide, (x, exposure, y), truth)


def censored_survival() -> Structure:
    times, censored = torch.distributions.Exponential(1.0).sample((DATA,)), torch.arange(DATA) % 3 == 0
    encoder = nn.Linear(1, 2)

    def model(times: Tensor, censored: Tensor) -> None:
        with pyro.plate("patients", len(times)):
            rate = pyro.sample("frailty", dist.Normal(0.0, 0.7)).exp()
            with poutine.mask(mask=~censored):
                pyro.sample("times", dist.Exponential(rate), obs=times)
            with poutine.mask(mask=censored):
                pyro.sample("survived", dist.Bernoulli((-rate * times).exp()), obs=torch.ones(len(times)))

    def guide(times: Tensor, censored: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("patients", len(times)):
            pyro.sample("frailty", _normal(encoder, times[:, None].log1p()))

    def truth() -> Array:
        points, weights = normal_grid(1, 1001)
        log_rate = 0.7 * points
        return log_mean(weights, np.where(censored.numpy(), 0.0, log_rate) - np.exp(log_rate) * array(times))

    form = "`poutine.mask` around one of two observed sites"
    return Structure("survival with censoring", form, model, guide, (times, censored), truth)


def random_slopes() -> Structure:
    x, y = torch.randn(DATA, 5), torch.randn(DATA, 5)
    mean, encoder = nn.Parameter(torch.zeros(2)), nn.Linear(10, 4)

    def model(x: Tensor, y: Tensor) -> None:
        with pyro.plate("groups", len(x)):
            line = pyro.sample("line", dist.Normal(pyro.param("mean", mean), torch.tensor([1.0, 0.5])).to_event(1))
            pyro.sample("y", dist.Normal(line[..., :1] + line[..., 1:] * x, 0.7).to_event(1), obs=y)

    def guide(x: Tensor, y: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("groups", len(x)):
            loc, scale = encoder(torch.cat([x, y], -1)).chunk(2, -1)
            pyro.sample("line", dist.Normal(loc, scale.exp()).to_event(1))

    def truth() -> Array:
        result = []
        for inputs, outputs in zip(array(x), array(y), strict=True):
            design = np.stack([np.ones(5), inputs], 1)
            covariance = design @ np.diag([1.0, 0.25]) @ design.T + 0.49 * np.eye(5)
            result.append(multivariate_normal(design @ array(mean), covariance).logpdf(outputs))
        return np.array(result)

    return Structure("random slopes", "intercept and slope per group, covariates", model, guide, (x, y), truth)


def proportions() -> Structure:
    trials = torch.randint(5, 20, (DATA,)).float()
    hits, encoder = (trials * torch.rand(DATA)).floor(), nn.Linear(2, 2)

    def model(trials: Tensor, hits: Tensor) -> None:
        with pyro.plate("players", len(trials)):
            skill = pyro.sample("skill", dist.Beta(2.0, 1.5))
            pyro.sample("hits", dist.Binomial(trials, skill), obs=hits)

    def guide(trials: Tensor, hits: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("players", len(trials)):
            one, other = encoder(torch.stack([trials, hits], -1)).abs().unbind(-1)
            pyro.sample("skill", dist.Beta(one + 0.5, other + 0.5))

    def truth() -> Array:
        result: Array = betabinom(array(trials).astype(int), 2.0, 1.5).logpmf(array(hits))
        return result

    return Structure("proportions", "`Beta` latent, `Binomial` of given trials", model, guide, (trials, hits), truth)


def sparse_coding() -> Structure:
    x, loading, encoder = torch.randn(DATA, 1), nn.Parameter(torch.randn(2, 1)), nn.Linear(1, 4)

    def model(x: Tensor) -> None:
        with pyro.plate("patches", len(x)):
            code = pyro.sample("code", dist.Laplace(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(code @ pyro.param("loading", loading), 0.8).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("patches", len(x)):
            loc, scale = encoder(x).chunk(2, -1)
            pyro.sample("code", dist.Normal(loc, scale.exp()).to_event(1))

    def truth() -> Array:
        axis = np.linspace(-20, 20, 1601)
        simpson = np.where(np.arange(1601) % 2, 4.0, 2.0) * (axis[1] - axis[0]) / 3  # zero is a node of even number
        weight = laplace.logpdf(axis) + np.log(simpson)
        loc = np.add.outer(axis * array(loading)[0, 0], axis * array(loading)[1, 0])
        both = np.add.outer(weight, weight)
        return np.array([logsumexp(both + normal_log_prob(v, loc, 0.8)) for v in array(x)[:, 0]])

    return Structure("sparse coding", "two `Laplace` latents", model, guide, (x,), truth)


def mixture_density() -> Structure:
    x, centres, encoder = 3 * torch.randn(DATA), nn.Parameter(torch.tensor([-2.0, 0.0, 2.0])), nn.Linear(1, 2)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            shares = dist.Categorical(logits=torch.stack([z, 0 * z, -z], -1))
            parts = dist.Normal(pyro.param("centres", centres).expand(*shares.batch_shape, 3), 0.6)
            pyro.sample("x", dist.MixtureSameFamily(shares, parts), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", _normal(encoder, x[:, None]))

    def truth() -> Array:
        points, weights = normal_grid(1, 1001)
        shares = log_softmax(points * np.array([1.0, 0.0, -1.0]), -1)
        parts = normal_log_prob(array(x)[:, None], array(centres), 0.6)
        return log_mean(weights, logsumexp(shares[:, None] + parts, axis=-1))

    return Structure("mixture density", "`MixtureSameFamily` observed", model, guide, (x,), truth)


def own_batches() -> Structure:
    x, encoder = torch.randn(DATA, WIDTH), nn.Linear(WIDTH, 2)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample_size=5) as rows:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).expand([*z.shape, WIDTH]).to_event(1), obs=x[rows])

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x), subsample_size=5) as rows:
            pyro.sample("z", _normal(encoder, x[rows]))

    form = "`plate('data', len(x), subsample_size=5)`, `obs=x[rows]`"
    return Structure("batches taken inside", form, model, guide, (x,), refused="plate 'data' takes 5")


STRUCTURES = (
    ordered_answers,
    overdispersed_counts,
    censored_survival,
    random_slopes,
    proportions,
    sparse_coding,
    mixture_density,
    own_batches,
)

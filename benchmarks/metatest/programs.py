"""A description as a pair of Pyro programs, written as users write them, and its data."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from benchmarks.metatest.description import Description, Site
from ppl_vae.programs.densities import regulariser

__all__ = ["data_of", "pair_of"]


def data_of(description: Description) -> Tensor:
    """Rows with one column per observed number, then its masks, ``(data, columns)``."""
    rng = np.random.default_rng(description.seed)
    n, columns = description.data, list[np.ndarray]()
    for site in description.observed:
        width = 3 if site.family == "multinomial" else max(site.size, 1)
        columns.extend(_observations(site, rng, n, width).T)
        masks = len(site.columns) - width
        columns.extend((rng.random((masks, n)) < 0.6).astype(float))
    return torch.tensor(np.stack(columns, -1), dtype=torch.get_default_dtype())


def _observations(site: Site, rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    shape = (n, width)
    match site.family:
        case "bernoulli":
            return rng.integers(0, 2, shape).astype(float)
        case "categorical":
            return rng.integers(0, site.states, shape).astype(float)
        case "poisson" | "negative_binomial":
            return rng.integers(0, 5, shape).astype(float)
        case "binomial":
            return rng.integers(0, 4, shape).astype(float)
        case "multinomial":
            return rng.multinomial(4, [0.2, 0.3, 0.5], n).astype(float)
        case "beta":
            return rng.uniform(0.05, 0.95, shape)
        case "gamma" | "exponential" | "log_normal":
            return np.exp(0.7 * rng.normal(size=shape))
    return 1.5 * rng.normal(size=shape)


def pair_of(description: Description) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The model and its guide."""

    def plate(x: Tensor) -> Any:
        if description.subsampled:
            return pyro.plate(description.plate, 40, subsample_size=len(x))
        return pyro.plate(description.plate, len(x))

    def model(x: Tensor) -> None:
        with plate(x):
            features = dict[str, Tensor]()
            for site in description.latents:
                features[site.name] = _feature(site, _sample(site, _predictor(site, features, x), x, None))
            if "deterministic" in description.extras:
                pyro.deterministic("twice", 2 * next(iter(features.values())))
            for site in description.observed:
                _sample(site, _predictor(site, features, x), x, site.columns)
        if "regulariser" in description.extras:
            with regulariser():
                pyro.factor("decay", torch.tensor(-3.0))

    def guide(x: Tensor) -> None:
        with plate(x):
            features = dict[str, Tensor]()
            for site in description.guide:
                features[site.name] = _feature(site, _sample(site, _predictor(site, features, x), x, None))

    return model, guide


def _predictor(site: Site, features: dict[str, Tensor], x: Tensor) -> Tensor:
    eta = site.intercept + site.of_data * x[:, 0].tanh()
    for name, weight in site.weights.items():
        eta = eta + weight * features[name]
    return eta


def _feature(site: Site, value: Tensor) -> Tensor:
    """One number of a latent, of small size."""
    if site.size:
        value = value if site.family in ("bernoulli", "normal") else torch.log1p(value)
        return value.mean(-2 if site.inner else -1)
    match site.family:
        case "bernoulli" | "normal":
            return value
        case "categorical":
            return value / (site.states - 1)
        case "one_hot":
            return value @ torch.linspace(-1, 1, site.states)
        case "mvn":
            return value.mean(-1)
        case "mixture" | "beta":
            return value
    return torch.log1p(value)


def _sample(site: Site, eta: Tensor, x: Tensor, columns: tuple[int, ...] | None) -> Tensor:
    vector = site.family in ("one_hot", "multinomial", "mvn")
    width = 3 if site.family == "multinomial" else max(site.size, 1)
    observed = None
    if columns is not None:
        observed = x[:, columns[0] : columns[0] + width]
        observed = observed.T if site.inner else observed if site.size or vector else observed[:, 0]
    with ExitStack() as around:
        if site.scale != 1:
            around.enter_context(poutine.scale(scale=site.scale))
        if site.mask == "rows":
            assert columns is not None
            around.enter_context(poutine.mask(mask=x[:, columns[-1]] > 0.5))
        if site.inner:
            around.enter_context(pyro.plate(f"{site.name}_elements", site.size, dim=-2))
        fn = _distribution(site, eta)
        if site.mask == "elements":
            assert columns is not None
            seen = x[:, columns[0] + width : columns[0] + 2 * width] > 0.5
            fn = fn.mask(seen.T if site.inner else seen)
        fn = fn.to_event(1) if site.size and not site.inner else fn
        value: Tensor = pyro.sample(site.name, fn, obs=observed)
        return value


def _distribution(site: Site, eta: Tensor) -> Any:
    offsets = torch.tensor(site.offsets)
    first, second = site.shape
    if site.family in ("categorical", "one_hot", "multinomial"):
        logits = offsets * (1 + eta[..., None]) + torch.arange(len(site.offsets)) * 0.3 * eta[..., None]
        if site.family == "categorical":
            return dist.Categorical(logits=logits)
        return dist.OneHotCategorical(logits=logits) if site.family == "one_hot" else dist.Multinomial(4, logits=logits)
    if site.family == "mvn":
        tril = torch.tensor([[first, 0.0], [0.4, second]])
        return dist.MultivariateNormal(eta[..., None] * torch.tensor([1.0, -0.5]) + offsets, scale_tril=tril)
    if site.family == "mixture":
        parts = dist.Normal(eta[..., None] + 2 * offsets, torch.tensor([first, second]))
        return dist.MixtureSameFamily(dist.Categorical(probs=torch.tensor([0.3, 0.7])), parts)
    if site.inner:
        eta = eta[..., None, :] + offsets[:, None]
    else:
        eta = eta[..., None] + offsets if site.size else eta + offsets[0]
    match site.family:
        case "bernoulli":
            return dist.Bernoulli(logits=eta)
        case "binomial":
            return dist.Binomial(3, logits=eta)
        case "normal":
            return dist.Normal(eta, first)
        case "student":
            return dist.StudentT(4.0, eta, first)
        case "log_normal":
            return dist.LogNormal(eta.tanh(), first)
        case "poisson":
            return dist.Poisson(eta.tanh().exp())
        case "geometric":
            return dist.Geometric(logits=eta.tanh())
        case "negative_binomial":
            return dist.NegativeBinomial(2 * first, logits=eta.tanh())
        case "gamma":
            return dist.Gamma(1 + first, eta.tanh().exp() * second)
        case "exponential":
            return dist.Exponential(eta.tanh().exp())
    return dist.Beta(1 + first * eta.tanh().exp(), 1 + second)

"""Factor analysis and its relatives: inputs beside x, pixel plates, missing values, scales, subsamples."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.stats import multivariate_normal
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.structures.structure import Array, Structure, array

__all__ = ["STRUCTURES"]

DATA, WIDTH, LATENTS = 12, 5, 2


def _marginals(x: Array, mean: Array, covariance: Array, seen: Array | None = None) -> Array:
    """log N(x_i; mean_i, covariance) over the coordinates that are seen."""
    seen = np.ones_like(x, dtype=bool) if seen is None else seen
    return np.array(
        [
            multivariate_normal(m[s], covariance[np.ix_(s, s)]).logpdf(row[s]) if s.any() else 0.0
            for row, m, s in zip(x, np.broadcast_to(mean, x.shape), seen, strict=True)
        ]
    )


class _Encoder(nn.Module):
    """Mean and scale of a normal, as the tutorials have it."""

    def __init__(self, inputs: int, latents: int = LATENTS) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, 16)
        self.loc, self.scale = nn.Linear(16, latents), nn.Linear(16, latents)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.hidden(x))
        return self.loc(hidden), torch.exp(self.scale(hidden))


def factor_analysis() -> Structure:
    x = torch.randn(DATA, WIDTH)
    encoder = _Encoder(WIDTH)

    def model(x: Tensor) -> None:
        loading = pyro.param("loading", torch.randn(LATENTS, WIDTH))
        mean = pyro.param("mean", torch.zeros(WIDTH))
        psi = pyro.param("psi", torch.ones(WIDTH), constraint=dist.constraints.positive)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(mean + z @ loading, psi).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    def truth() -> Array:
        loading, mean, psi = (array(pyro.param(name)) for name in ("loading", "mean", "psi"))
        return _marginals(array(x), mean, loading.T @ loading + np.diag(psi**2))

    return Structure("factor analysis", "functions; `pyro.param` with a constraint", model, guide, (x,), truth)


class _PixelPPCA(nn.Module):
    """Probabilistic PCA with a plate for the pixels, in either order of the plates."""

    def __init__(self, pixels_inside: bool) -> None:
        super().__init__()
        self.decoder, self.encoder = nn.Linear(LATENTS, WIDTH), _Encoder(WIDTH)
        self.pixels_inside = pixels_inside

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        if self.pixels_inside:
            with pyro.plate("batch", len(x), dim=-2):
                z = pyro.sample("z", dist.Normal(torch.zeros(1, LATENTS), 1.0).to_event(1))
                with pyro.plate("pixels", WIDTH, dim=-1):
                    pyro.sample("x", dist.Normal(self.decoder(z).squeeze(-2), 0.5), obs=x)
        else:
            with pyro.plate("batch", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
                loc = self.decoder(z).transpose(-1, -2)
                with pyro.plate("pixels", WIDTH):
                    pyro.sample("x", dist.Normal(loc, 0.5), obs=x.T)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        loc, scale = self.encoder(x)
        if self.pixels_inside:
            with pyro.plate("batch", len(x), dim=-2):
                pyro.sample("z", dist.Normal(loc[:, None], scale[:, None]).to_event(1))
        else:
            with pyro.plate("batch", len(x)):
                pyro.sample("z", dist.Normal(loc, scale).to_event(1))


def _pixels(title: str, form: str, pixels_inside: bool) -> Structure:
    x, pair = torch.randn(DATA, WIDTH), _PixelPPCA(pixels_inside)

    def truth() -> Array:
        weight, bias = array(pair.decoder.weight), array(pair.decoder.bias)
        return _marginals(array(x), bias, weight @ weight.T + 0.25 * np.eye(WIDTH))

    return Structure(title, form, pair.model, pair.guide, (x,), truth)


def pixel_plate() -> Structure:
    return _pixels("probabilistic PCA, pixel plate", "plates `batch` and `pixels`, allocated by Pyro", False)


def pixel_plate_inside() -> Structure:
    return _pixels("probabilistic PCA, pixels last", "plates of given dimensions, `batch` at -2, `pixels` at -1", True)


def conditional() -> Structure:
    y = functional.one_hot(torch.arange(DATA) % 3, 3).float()
    x = torch.randn(DATA, WIDTH) + y @ torch.randn(3, WIDTH)
    decoder, encoder = nn.Linear(LATENTS + 3, WIDTH), _Encoder(WIDTH + 3)

    def model(x: Tensor, y: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
            label = y.expand(z.shape[:-1] + y.shape[-1:])
            pyro.sample("x", dist.Normal(decoder(torch.cat([z, label], -1)), 0.5).to_event(1), obs=x)

    def guide(x: Tensor, y: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(torch.cat([x, y], -1))).to_event(1))

    def truth() -> Array:
        weight, bias = array(decoder.weight), array(decoder.bias)
        mean = bias + array(y) @ weight[:, LATENTS:].T
        return _marginals(array(x), mean, weight[:, :LATENTS] @ weight[:, :LATENTS].T + 0.25 * np.eye(WIDTH))

    return Structure("conditional VAE p(x given y)", "`model(x, y)`, one-hot y", model, guide, (x, y), truth)


def missing_values() -> Structure:
    x = torch.randn(DATA, WIDTH)
    x[torch.rand(DATA, WIDTH) < 0.3] = torch.nan
    decoder, encoder = nn.Linear(LATENTS, WIDTH), _Encoder(2 * WIDTH)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        seen = ~x.isnan()
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
            filled = torch.where(seen, x, torch.zeros(()))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).mask(seen).to_event(1), obs=filled)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        seen = ~x.isnan()
        with pyro.plate("data", len(x)):
            features = torch.cat([x.nan_to_num(), seen.float()], -1)
            pyro.sample("z", dist.Normal(*encoder(features)).to_event(1))

    def truth() -> Array:
        weight, bias = array(decoder.weight), array(decoder.bias)
        return _marginals(array(x), bias, weight @ weight.T + 0.25 * np.eye(WIDTH), ~np.isnan(array(x)))

    return Structure("missing values", "NaN in x; `Normal(...).mask(seen)`", model, guide, (x,), truth)


def observation_mask() -> Structure:
    x = torch.randn(DATA, WIDTH)
    seen = torch.arange(DATA) % 3 > 0
    decoder, encoder = nn.Linear(LATENTS, WIDTH), _Encoder(WIDTH + 1)

    def model(x: Tensor, seen: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x, obs_mask=seen)

    def guide(x: Tensor, seen: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            known = torch.where(seen[:, None], x, torch.zeros(()))
            z = pyro.sample("z", dist.Normal(*encoder(torch.cat([known, seen[:, None].float()], -1))).to_event(1))
            with pyro.poutine.mask(mask=~seen):
                pyro.sample("x_unobserved", dist.Normal(decoder(z), 0.5).to_event(1))

    def truth() -> Array:
        weight, bias = array(decoder.weight), array(decoder.bias)
        full = _marginals(array(x), bias, weight @ weight.T + 0.25 * np.eye(WIDTH))
        return np.where(seen.numpy(), full, 0.0)

    return Structure("rows without x", "`obs_mask=seen`, guide site `x_unobserved`", model, guide, (x, seen), truth)


def scaled_rate() -> Structure:
    x = torch.randn(DATA, WIDTH)
    decoder, encoder = nn.Linear(LATENTS, WIDTH), _Encoder(WIDTH)

    def model(x: Tensor, annealing_factor: float = 1.0) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            with pyro.poutine.scale(scale=annealing_factor):
                z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x: Tensor, annealing_factor: float = 1.0) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=annealing_factor):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    def truth() -> Array:
        weight, bias = array(decoder.weight), array(decoder.bias)
        return _marginals(array(x), bias, weight @ weight.T + 0.25 * np.eye(WIDTH))

    return Structure(
        "annealed rate", "`poutine.scale` by an argument of the step", model, guide, (x, 0.3), truth, train=(x, 0.3)
    )


def subsampled() -> Structure:
    everything = torch.randn(10 * DATA, WIDTH)
    x = everything[:DATA]
    decoder, encoder = nn.Linear(LATENTS, WIDTH), _Encoder(WIDTH)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(everything), subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(everything), subsample_size=len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    def truth() -> Array:
        weight, bias = array(decoder.weight), array(decoder.bias)
        return _marginals(array(x), bias, weight @ weight.T + 0.25 * np.eye(WIDTH))

    return Structure("mini-batches", "`plate('data', N, subsample_size=len(x))`", model, guide, (x,), truth)


def mixed_effects() -> Structure:
    """A random effect for each group of repeated measurements: the datum is the group."""
    groups, repeats = DATA, 4
    covariate = torch.randn(groups, repeats)
    y = 0.5 * covariate + torch.randn(groups, 1) + 0.3 * torch.randn(groups, repeats)
    slope, encoder = nn.Parameter(torch.tensor(0.2)), _Encoder(2 * repeats, 1)

    def model(covariate: Tensor, y: Tensor) -> None:
        weight = pyro.param("slope", slope)
        with pyro.plate("groups", len(y), dim=-2):
            effect = pyro.sample("effect", dist.Normal(torch.zeros(1), 1.0))
            with pyro.plate("repeats", repeats, dim=-1):
                pyro.sample("y", dist.Normal(effect + weight * covariate, 0.5), obs=y)

    def guide(covariate: Tensor, y: Tensor) -> None:
        pyro.module("encoder", encoder)
        loc, scale = encoder(torch.cat([covariate, y], -1))
        with pyro.plate("groups", len(y), dim=-2):
            pyro.sample("effect", dist.Normal(loc, scale))

    def truth() -> Array:
        mean = array(pyro.param("slope")) * array(covariate)
        return _marginals(array(y), mean, np.ones((repeats, repeats)) + 0.25 * np.eye(repeats))

    return Structure(
        "hierarchical regression",
        "a random effect per group, plate `repeats`",
        model,
        guide,
        (covariate, y),
        truth,
    )


STRUCTURES = (
    factor_analysis,
    pixel_plate,
    pixel_plate_inside,
    conditional,
    missing_values,
    observation_mask,
    scaled_rate,
    subsampled,
    mixed_effects,
)

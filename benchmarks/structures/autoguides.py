"""Guides that Pyro makes, and factors."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from benchmarks.structures.structure import Array, Structure, array

__all__ = ["STRUCTURES"]

DATA, WIDTH = 10, 4


def _linear_model(x: Tensor, loading: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z * loading, 0.5).to_event(1), obs=x)


def autoguide() -> Structure:
    x, loading = torch.randn(DATA, WIDTH), torch.randn(WIDTH)

    def model(x: Tensor) -> None:
        _linear_model(x, loading)

    def truth() -> Array:
        covariance = np.outer(array(loading), array(loading)) + 0.25 * np.eye(WIDTH)
        return multivariate_normal(np.zeros(WIDTH), covariance).logpdf(array(x))

    return Structure("autoguide", "`AutoNormal(model)` on a fixed data set", model, AutoNormal(model), (x,), truth)


def joint_autoguide() -> Structure:
    x, loading = torch.randn(DATA, WIDTH), torch.randn(WIDTH)

    def model(x: Tensor) -> None:
        _linear_model(x, loading)

    return Structure(
        "autoguide over all data jointly",
        "`AutoMultivariateNormal(model)`",
        model,
        AutoMultivariateNormal(model),
        (x,),
        refused="AutoMultivariateNormal",
    )


def point_estimate() -> Structure:
    x, loading = torch.randn(DATA, WIDTH), torch.randn(WIDTH)

    def model(x: Tensor) -> None:
        _linear_model(x, loading)

    return Structure("point estimate", "`AutoDelta(model)`", model, AutoDelta(model), (x,), refused="AutoDelta")


def weight_decay() -> Structure:
    """A penalty written as a factor: a term of the objective that is no density."""
    x, decoder, encoder = torch.randn(DATA, WIDTH), nn.Linear(1, WIDTH), nn.Linear(WIDTH, 2)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        pyro.factor("weight_decay", -0.1 * decoder.weight.square().sum())
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return Structure("penalty as a factor", "`pyro.factor`", model, guide, (x,), refused="pyro.factor")


STRUCTURES = (autoguide, joint_autoguide, point_estimate, weight_decay)

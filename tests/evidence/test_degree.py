"""Degrees of functions as polynomials, whatever the values at which they are computed."""

import numpy as np
import pytest
import torch
from torch import distributions, nn

from ppl_vae.evidence.degree import degree

Z = torch.randn(1, 4, 3)
W = torch.randn(3, 5)


def normal(loc, scale=0.3):
    return distributions.Normal(loc, scale, validate_args=False).log_prob(torch.zeros(4, loc.shape[-1])).sum(-1)


def written(value):
    buffer = torch.zeros(1, 4, 3)
    buffer[..., 0] = value
    return buffer.square().sum(-1)


QUADRATIC = {
    "matrix": lambda z: normal(z @ W),
    "layer": lambda z: normal(nn.Linear(3, 5)(z), torch.ones_like(z[..., :1])),
    "layers": lambda z: normal(nn.Sequential(nn.Linear(3, 7), nn.Linear(7, 5))(z)),
    "einsum": lambda z: normal(torch.einsum("sdk,kj->sdj", z, W)),
    "convolution": lambda z: nn.Conv1d(1, 2, 2)(z.reshape(4, 1, 3)).square(),
    "multivariate": lambda z: distributions.MultivariateNormal(z, torch.eye(3), validate_args=False).log_prob(Z),
    "low rank": lambda z: distributions.LowRankMultivariateNormal(
        z, torch.ones(3, 1), torch.ones(3), validate_args=False
    ).log_prob(Z),
    "in place": lambda z: written(z[..., 0]),
    "constant mask": lambda z: torch.where(torch.arange(3) > 0, normal(z)[..., None], 0.0),
    "choice": lambda z: torch.where(torch.ones(3) > 0, normal(z)[..., None], z.tanh()),
    "product": lambda z: z[..., 0] * z[..., 1] + z[..., 2] / 3 - 2 * z[..., 0],
}

OTHERS = {
    "cubic": lambda z: z * z * z,
    "network": lambda z: normal(nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 5))(z)),
    "scale": lambda z: normal(z, 1 - 0.5 * (-z.square()).exp()),
    "comparison": lambda z: normal(z, torch.where((z - 1).abs() < 1e-3, 1e-3, 1.0)),
    "choice of rows": lambda z: torch.tensor([1.0, 2.0])[z.gt(4).long()],
    "rounding": lambda z: z.long().float(),
    "whole numbers": lambda z: torch.div(z, 2, rounding_mode="floor"),
    "in place": lambda z: written(z[..., 0].relu()),
    "branch": lambda z: normal(z) if z[0, 0, 0] > 5 else 2 * normal(z),
    "list": lambda z: torch.tensor(z.tolist()),
    "numpy": lambda z: torch.from_numpy(np.where(z.numpy() > 5, 1.0, 2.0)),
    "division": lambda z: 1 / z,
    "vmap": lambda z: torch.vmap(lambda row: (row > 0).float() * row)(z),
}


@pytest.mark.parametrize("name", QUADRATIC)
def test_what_is_quadratic_is_known_to_be(name):
    assert degree(QUADRATIC[name], Z) == 2


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_is_not_taken_for_it(name):
    assert degree(OTHERS[name], Z) == 3


def test_lower_degrees():
    assert degree(lambda z: torch.ones_like(z) + Z, Z.clone()) == 0
    assert degree(lambda z: z @ W + 1, Z.clone()) == 1

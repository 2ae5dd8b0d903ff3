"""Path gradients of the importance-weighted bound: their mean, their noise at the posterior, and what they refuse."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import logsumexp
from torch import nn

from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

SCALE = 0.7
"""Standard deviation of x given z; the prior of z is standard normal."""
X = torch.tensor([1.3, -0.4])


class Normals:
    """A linear Gaussian pair whose guide has parameters that the posterior may have; z2 has z1 as its mean."""

    def __init__(self, location: float, log_scale: float, layers: int = 1) -> None:
        self.free = nn.Parameter(torch.tensor([location, log_scale]))
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.layers = layers

    def model(self, x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z1", dist.Normal(0.0, 1.0))
            if self.layers == 2:
                z = pyro.sample("z2", dist.Normal(z, 1.0))
            pyro.sample("x", dist.Normal(self.weight * z, SCALE), obs=x)

    def guide(self, x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z1", dist.Normal(self.free[0] * x, self.free[1].exp()))
            if self.layers == 2:
                pyro.sample("z2", dist.Normal(z * self.free[0] + 0.1 * x, self.free[1].exp()))

    def gradients(self, objective: ImportanceWeightedELBO) -> torch.Tensor:
        loss = objective.differentiable_loss(self.model, self.guide, X)
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, [self.free, self.weight])])


def bound(location: float, log_scale: float, weight: float, noise: np.ndarray, layers: int) -> float:
    """The bound for given noise, ``(layers, repetitions, draws, data)``, without PyTorch."""
    x, scale = X.numpy(), np.exp(log_scale)

    def normal(value, mean, deviation):
        return -((value - mean) ** 2) / (2 * deviation**2) - np.log(deviation) - np.log(2 * np.pi) / 2

    z = location * x + scale * noise[0]
    log_w = normal(z, 0, 1) - normal(z, location * x, scale)
    if layers == 2:
        mean = z * location + 0.1 * x
        last = mean + scale * noise[1]
        log_w = log_w + normal(last, z, 1) - normal(last, mean, scale)
        z = last
    log_w = log_w + normal(x, weight * z, SCALE)
    return float((logsumexp(log_w, axis=1) - np.log(log_w.shape[1])).sum(-1).mean())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("draws", [1, 3])
def test_the_mean_is_the_gradient_of_the_bound(draws, layers):
    pair = Normals(0.2, -0.3, layers)
    noise = np.random.default_rng(0).standard_normal((layers, 100_000, draws, len(X)))
    at, step = np.array([0.2, -0.3, 1.0]), 1e-4
    exact = [(bound(*(at - d), noise, layers) - bound(*(at + d), noise, layers)) / (2 * step) for d in step * np.eye(3)]
    objective = ImportanceWeightedELBO(draws, path_gradients=True)
    pair.gradients(objective)
    found = torch.stack([pair.gradients(objective) for _ in range(500)])
    assert_mean(found, torch.tensor(exact))


def test_nothing_is_left_where_the_guide_is_the_posterior():
    variance = 1 / (1 + SCALE**-2)
    pair = Normals(variance / SCALE**2, 0.5 * float(np.log(variance)))
    plain, followed = (
        torch.stack([pair.gradients(ImportanceWeightedELBO(4, path_gradients=path)) for _ in range(5)])[:, :2]
        for path in (False, True)
    )
    assert plain.abs().max() > 0.01
    assert followed.abs().max() < 1e-6  # X is float32


def test_blocks_computed_again_in_the_backward_pass_have_the_same_gradient(monkeypatch):
    pair, objective = Normals(0.2, -0.3), ImportanceWeightedELBO(3, path_gradients=True)
    pair.gradients(objective)
    torch.manual_seed(1)
    one, two = (ImportanceWeightedELBO(3, path_gradients=True).differentiable_loss(pair.model, pair.guide, X[i : i + 1])
                for i in range(2))  # fmt: skip
    whole = torch.cat([g.reshape(-1) for g in torch.autograd.grad(one + two, [pair.free, pair.weight])])
    monkeypatch.setattr("ppl_vae.objectives.importance_weighted.CELLS", 3)
    torch.manual_seed(1)
    torch.testing.assert_close(pair.gradients(objective), whole)


def test_bits_are_no_paths():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5).expand([20]).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(len(x), 20)).to_event(1))

    with pytest.raises(ValueError, match="those of site 'z' of the guide, .*, are no differentiable function"):
        ImportanceWeightedELBO(path_gradients=True).loss(model, guide, X)


def test_a_guide_with_dropout_is_refused_as_its_second_run_has_another_density():
    drop = nn.Dropout(0.5)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z1", dist.Normal(drop(x), 0.3))

    with pytest.raises(ValueError, match="path gradients run the guide twice"):
        ImportanceWeightedELBO(4, path_gradients=True).differentiable_loss(Normals(0.5, 0.0).model, guide, X)


def test_with_a_fixed_guide_the_model_has_its_gradient():
    pair = Normals(0.3, -0.2)
    pair.free.requires_grad_(False)
    gradients = []
    for path_gradients in (False, True):
        torch.manual_seed(0)
        objective = ImportanceWeightedELBO(4, path_gradients=path_gradients)
        loss = objective.differentiable_loss(pair.model, pair.guide, X)
        gradients.append(torch.autograd.grad(loss, pair.weight)[0])
    assert gradients[1] != 0
    torch.testing.assert_close(*gradients)

"""Biased estimators: their means are those of their formulas, right to the order they claim, and said to be biased."""

from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.integrate import quad
from scipy.special import expit, logit

from ppl_vae.estimators import estimate
from ppl_vae.estimators.gumbel import Gumbel
from ppl_vae.objectives.choice import make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO
from tests.support.cli import flat, succeed
from tests.support.estimator_checks import expectation_gradient
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

BIASED = ["gumbel", "reinmax", "straight_through"]
LOGITS = np.array([0.8, -1.3])
FIRST, SECOND = np.array([0.7, -1.1]), np.array([[0.9, 1.4], [0.3, -0.6]])


def curved(z):
    return torch.sin(z @ torch.tensor(FIRST)) + (z @ torch.tensor(SECOND)).exp().sum(-1)


def slope(z):
    """That of ``curved``, by hand."""
    return np.cos(z @ FIRST) * FIRST + np.exp(z @ SECOND) @ SECOND.T


def relaxed_derivative(at, temperature=0.5):
    """E[y (1 - y) / tau] of a relaxed bit, where the bit is 0 and where it is 1, by quadrature."""

    def of(u):
        y = expit((at + logit(u)) / temperature)
        return y * (1 - y) / temperature

    border = 1 - expit(at)
    return quad(of, 0, border)[0], quad(of, border, 1)[0]


def mean_of(name):
    """The mean of an estimator by its formula, summed over the codes."""
    total, mean = np.zeros(2), expit(LOGITS)
    for code in product((0, 1), repeat=2):
        chances = np.where(code, mean, 1 - mean)
        derivative = {
            "straight_through": mean * (1 - mean),
            "reinmax": 0.5 * (1 - chances),
            "gumbel": np.array([relaxed_derivative(at)[bit] for at, bit in zip(LOGITS, code, strict=True)]) / chances,
        }[name]
        total += chances.prod() * slope(np.array(code, dtype=float)) * derivative
    return torch.tensor(total)


@pytest.mark.parametrize("name", BIASED)
def test_the_mean_is_that_of_the_formula_and_not_the_gradient(name):
    found = estimate(make_estimator(name, False), curved, torch.tensor(LOGITS).expand(20_000, 2), 1)
    assert_mean(found, mean_of(name))
    true = expectation_gradient(curved, torch.tensor(LOGITS)[None])[0]
    assert (mean_of(name) - true).norm() > 0.03 * true.norm()


def test_of_one_bit_straight_through_is_right_to_first_order_and_reinmax_to_second():
    at = torch.tensor([0.8])
    for degree, (first_is_right, second_is_right) in {1: (True, True), 2: (False, True), 3: (False, False)}.items():
        true = expectation_gradient(lambda z, d=degree: z[..., 0] ** d + z[..., 0], at[None])[0]
        means = {}
        for name in ("straight_through", "reinmax"):
            # f has slope 1 at 0, and 1 + degree at 1; that of the first degree 2 everywhere.
            f = lambda z, d=degree: z[..., 0] ** d + z[..., 0]  # noqa: E731
            means[name] = estimate(make_estimator(name, False), f, at.expand(100_000, 1)).mean(0)
        assert torch.allclose(means["straight_through"], true, rtol=0.02) == first_is_right
        assert torch.allclose(means["reinmax"], true, rtol=0.02) == second_is_right


def test_a_temperature_is_positive():
    with pytest.raises(ValueError, match="the temperature is 0; give a positive number"):
        Gumbel(0)


@pytest.mark.parametrize("name", BIASED)
def test_the_objective_takes_it_and_its_mean_gradient_is_not_that_of_the_sum(name):
    offsets, weights = torch.tensor([0.4, -0.9, 1.1]), torch.tensor([[1.2, -0.7], [0.6, 0.9], [-1.0, 0.5]])
    x = torch.tensor([[0.7, -0.4]])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((3,), 0.3)).to_event(1))
            pyro.sample("x", dist.Normal(torch.tanh(z @ weights) * 2, 0.4).to_event(1), obs=x)

    def gradient(estimator, copies):
        logits = offsets.expand(copies, 3).clone().requires_grad_()

        def guide(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))

        loss = DiscreteELBO(estimator).differentiable_loss(model, guide, x.expand(copies, 2))
        return torch.autograd.grad(loss, logits)[0]

    found, true = gradient(name, 4000), gradient("enumerate", 1)[0]
    error = found.std(0) / 4000**0.5
    assert ((found.mean(0) - true).abs() > 6 * error).any()


def test_training_says_that_it_is_biased(folder):
    pair = ("train", "text", "--guide", "linear_counts", "--corpus", "topics.npz", "--bits", "3", "--epochs", "1")
    told = flat(succeed(*pair, "--estimator", "straight_through").output)
    assert (
        "note: straight_through is biased, however many draws it takes: it takes the slope of f at drawn bits" in told
    )


def test_bits_of_two_sites_are_not_flipped_one_at_a_time():
    def model(x):
        with pyro.plate("data", len(x)):
            z = [pyro.sample(name, dist.Bernoulli(torch.full((2,), 0.5)).to_event(1)) for name in "ab"]
            pyro.sample("x", dist.Normal(sum(z).sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            for name in "ab":
                pyro.sample(name, dist.Bernoulli(torch.full((2,), 0.4)).to_event(1))

    with pytest.warns(UserWarning, match="bitflip.* flips bits of a single site, but there are 'a', 'b'"):
        DiscreteELBO("bitflip").loss(model, guide, torch.zeros(3))

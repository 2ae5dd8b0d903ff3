"""When a Gaussian model uses its latents, and a weight on the rate as another sigma."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.elbo import DiscreteELBO

pytestmark = pytest.mark.usefixtures("float64")


def with_decoder(decoder, encoder, sigma):
    """A Gaussian model of two latents and a guide with these networks."""

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), sigma).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc, log_scale = encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return model, guide


@pytest.mark.parametrize("weight", [0.2, 4.0])
def test_a_weight_on_the_rate_is_another_sigma(weight):
    """D / (2 sigma^2) + w R is w [D / (2 w sigma^2) + R]: sigma sqrt(w) with weight one, but for constants."""
    torch.manual_seed(0)
    decoder = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    encoder, x, sigma = torch.nn.Linear(3, 4), torch.randn(7, 3), 0.7
    networks = [*decoder.parameters(), *encoder.parameters()]

    def loss(beta, deviation):
        torch.manual_seed(1)
        value = DiscreteELBO(beta=beta).differentiable_loss(*with_decoder(decoder, encoder, deviation), x)
        return value, torch.autograd.grad(value, networks)

    weighted, gradients = loss(weight, sigma)
    other, expected = loss(1.0, sigma * weight**0.5)
    for one, two in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, weight * two)
    constant = 1.5 * (np.log(2 * np.pi * sigma**2) - weight * np.log(2 * np.pi * sigma**2 * weight))
    assert (weighted - weight * other).item() == pytest.approx(len(x) * constant)


@pytest.mark.parametrize(("ratio", "used"), [(0.95, True), (1.05, False)])
def test_a_linear_decoder_is_used_where_the_largest_eigenvalue_exceeds_the_noise(ratio, used):
    """Tipping and Bishop (1999): for any data, the likelihood at W = 0 is a maximum from the largest eigenvalue on."""
    x = torch.tensor(np.random.default_rng(0).exponential(size=(500, 3)) @ np.diag([3.0, 1.0, 0.5]))
    x = x - x.mean(0)
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    sigma = float(np.sqrt(ratio * values[-1]))
    decoder, encoder = torch.nn.Linear(2, 3, bias=False), torch.nn.Linear(3, 4)
    evidence = []
    for size in (0.0, 0.1):
        with torch.no_grad():
            decoder.weight.zero_()
            decoder.weight[:, 0] = size * torch.tensor(vectors[:, -1])
        found = measure(*with_decoder(decoder, encoder, sigma), x).evidence
        covariance = sigma**2 * np.eye(3) + np.outer(*[size * vectors[:, -1]] * 2)
        truth = stats.multivariate_normal(np.zeros(3), covariance).logpdf(x.numpy()).mean()
        assert found.bound == "exact"
        assert found.mean == pytest.approx(truth, abs=1e-9)
        evidence.append(found.mean)
    assert (evidence[1] > evidence[0]) == used


def test_other_decoders_may_be_used_beyond_the_largest_eigenvalue():
    """Rare far points: the collapsed model is best only if E exp(t x) <= exp(sigma^2 t^2 / 2) for all t."""
    x, variance = np.array([0.0] * 98 + [10.0, -10.0]), 3.0
    assert x.var() < variance
    t = np.linspace(-4, 4, 801)
    assert (np.exp(t[:, None] * x).mean(1) > np.exp(variance * t**2 / 2)).any()

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.98, 0.01, 0.01])))
            pyro.sample("x", dist.Normal(torch.tensor([0.0, 10.0, -10.0])[k], variance**0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(torch.tensor([0.98, 0.01, 0.01]).expand(len(x), 3)))

    found = measure(model, guide, torch.tensor(x)).evidence
    parts = stats.norm([[0.0], [10.0], [-10.0]], variance**0.5).logpdf(x)
    truth = logsumexp(parts, 0, b=np.array([[0.98], [0.01], [0.01]])).mean()
    assert found.mean == pytest.approx(truth, abs=1e-9)
    assert truth > stats.norm(0, variance**0.5).logpdf(x).mean() + 0.2

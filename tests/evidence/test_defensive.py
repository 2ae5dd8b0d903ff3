"""Samples of the prior beside those of the guide: unbiased, and not blind where the guide is."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.stats import norm

from ppl_vae.evidence.defensive import defensive_importance, defensive_shortfall
from ppl_vae.evidence.measure import measure
from tests.support.small_pairs import number_with_noise
from tests.support.z_test import assert_mean

RUNS = 4000


linear = number_with_noise()


def aside(x):
    """Half of the posterior's deviation aside, and too narrow."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2 + 0.35, 0.5))


def test_the_mean_weight_is_unbiased_and_so_is_its_error():
    """Many equal data: each is a replication."""
    torch.manual_seed(0)
    truth = norm(0, 2**0.5).logpdf(0.7)
    result = defensive_importance(linear, aside, torch.full((RUNS,), 0.7), 10, 0.3)
    assert_mean((result.evidence.pointwise - truth).exp()[:, None], torch.ones(1))
    stated = result.evidence.pointwise_se.square().mean().sqrt()
    assert 0.85 < stated / result.evidence.pointwise.std() < 1.15
    gap = result.gap.pointwise_se.square().mean().sqrt()
    assert 0.85 < gap / result.gap.pointwise.std() < 1.15
    assert result.evidence.method == "importance, 10 draws and 3 of the prior"


def test_a_sample_of_the_posterior_makes_the_inverse_unbiased():
    torch.manual_seed(1)
    x = torch.full((RUNS,), 0.7)
    posterior = {"z": 0.35 + 0.5**0.5 * torch.randn(RUNS)}
    torch.manual_seed(2)
    lower = defensive_importance(linear, aside, x, 10, 0.3).evidence.pointwise
    torch.manual_seed(2)  # the same samples
    upper = lower + defensive_shortfall(linear, aside, x, posterior, 10, 0.3, smooth=False).pointwise
    assert_mean((norm(0, 2**0.5).logpdf(0.7) - upper).exp()[:, None], torch.ones(1))


def test_bits_that_a_guide_never_draws_are_found():
    """A bit of probability one half that the guide takes for certain: log 2 is missing."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(20)).to_event(1))
            pyro.sample("x", dist.Normal(0.2 * z[..., 0], 1.0), obs=x)

    def guide(x):
        logits = torch.tensor([-30.0] + [0.0] * 19).expand(len(x), 20)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))

    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 40)
    truth = np.logaddexp(norm(0, 1).logpdf(x.numpy()), norm(0.2, 1).logpdf(x.numpy())) - np.log(2)
    alone, mixed = (
        measure(model, guide, x, method="importance", draws=400, prior_share=share, check=False).evidence
        for share in (0.0, 0.1)
    )
    assert truth.mean() - alone.mean > 0.5
    assert abs(truth.mean() - mixed.mean) < 4 * mixed.se
    assert any("guide leaves out a part of their posterior" in line for line in mixed.warnings)


def test_an_exact_posterior_keeps_its_constant_weights():
    def exact(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.double() / 2, torch.tensor(0.5).double().sqrt()))

    x = torch.randn(5).double()
    result = measure(linear, exact, x, method="importance", draws=50)
    np.testing.assert_allclose(result.evidence.pointwise, norm(0, 2**0.5).logpdf(x.numpy()), atol=1e-6)
    assert result.evidence.k_hat.isneginf().all()

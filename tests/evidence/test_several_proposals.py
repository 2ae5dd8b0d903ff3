"""Samples of several proposals under their mixture, and the bounds they give from below and from above."""

import math
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import norm

from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.psis import k_hat_limit
from ppl_vae.evidence.several_proposals import Proposal, evidence_of, mixture_weights, with_posterior
from tests.support.small_pairs import number_with_noise
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

RUNS = 4000

linear = number_with_noise()
"""A standard normal number, seen with a deviation of one."""


def normal(shift, scale):
    def program(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2 + shift, scale))

    return program


def parts():
    return [Proposal(normal(0.6, 0.5), 4), Proposal(None, 2), Proposal(normal(-0.3, 0.4), 3)]


def test_the_mean_weight_is_unbiased_and_so_is_its_error():
    torch.manual_seed(0)
    x = torch.full((RUNS,), 0.7)
    weights, own = mixture_weights(linear, x, parts())
    assert weights.shape == (9, RUNS)
    assert_mean(weights.exp().mean(0)[:, None] / norm(0, 2**0.5).pdf(0.7), torch.ones(1))
    result = evidence_of(weights, own, parts(), "mixture")
    stated = result.evidence.pointwise_se.square().mean().sqrt()
    assert 0.85 < stated / result.evidence.pointwise.std() < 1.15


def test_a_sample_of_the_posterior_makes_the_inverse_unbiased():
    torch.manual_seed(1)
    x = torch.full((RUNS,), 0.7)
    posterior = {"z": 0.35 + 0.5**0.5 * torch.randn(RUNS)}
    weights, _ = mixture_weights(linear, x, parts())
    replaced = with_posterior(linear, x, parts(), weights, posterior)
    changed = replaced != weights
    assert (changed.sum(0) == 1).all()
    z = posterior["z"].numpy()
    mixture = (4 * norm.pdf(z, 0.95, 0.5) + 2 * norm.pdf(z) + 3 * norm.pdf(z, 0.05, 0.4)) / 9
    expected = norm.logpdf(z) + norm.logpdf(0.7, z, 1) - np.log(mixture)
    np.testing.assert_allclose((replaced * changed).sum(0), expected)
    # By the shares of the proposals' densities there.
    by_prior = torch.as_tensor(2 * norm.pdf(z) / 9 / mixture)
    assert_mean((changed[4:6].any(0).double() - by_prior)[:, None], torch.zeros(1))
    upper = replaced.logsumexp(0) - math.log(9)
    assert_mean((norm(0, 2**0.5).logpdf(0.7) - upper).exp()[:, None], torch.ones(1))


def test_best_members_find_the_mode_and_the_bit_that_the_guide_leaves_out():
    def model(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Bernoulli(0.02 * torch.ones(3)).to_event(1))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.abs() + 2 * b[..., 0], 0.3), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Bernoulli(logits=torch.tensor([-30.0, -4.0, -4.0]).expand(len(x), 3)).to_event(1))
            pyro.sample("z", dist.Normal(0.9 * x, 0.3))

    torch.manual_seed(0)
    x = torch.linspace(2.5, 3.2, 8)
    grid = np.linspace(-9, 9, 20001)
    sides = [
        p * np.exp(norm.logpdf(grid) + norm.logpdf(x.numpy()[:, None], np.abs(grid) + 2 * bit, 0.3))
        for bit, p in ((0, 0.98), (1, 0.02))
    ]
    truth = np.log(sum(sides).sum(1) * (grid[1] - grid[0]))
    alone = measure(model, guide, x, method="importance", draws=400, prior_share=0).evidence
    found = measure(model, guide, x, method="best_member", draws=400, search_steps=60).evidence
    assert truth.mean() - alone.mean > 0.7
    assert abs(truth.mean() - found.mean) < 4 * found.se + 0.05


def test_tails_as_heavy_as_those_of_simulated_data_of_which_nothing_is_missed_are_no_reason_for_caution():
    torch.manual_seed(0)
    x = 2**0.5 * torch.randn(60)
    options = {"draws": 200, "search_steps": 10, "search_starts": 1}
    found = measure(linear, normal(1.0, 0.4), x, method="best_member", check=True, **options).evidence
    limit, shortfall = k_hat_limit(200), found.shortfall
    assert shortfall.k_hat is not None and shortfall.mean < 0.01
    assert 0 < (found.k_hat > limit).sum() <= found.tolerated * len(x)
    assert not any("k-hat" in line for line in found.warnings)
    unchecked = replace(found, shortfall=None, tolerated=0.0)
    assert any("have a Pareto k-hat over" in line for line in unchecked.warnings)

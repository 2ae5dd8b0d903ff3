"""Importance sampling: unbiased weights, constant weights, and their errors."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.evidence.importance import from_log_weights, sampled_elbo
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.results import Evidence
from tests.support.small_pairs import text_pair, uninformative_bits
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def test_importance_weights_agree_with_enumeration():
    model, guide, x = text_pair(3, 1)
    exact = measure(model, guide, x)
    runs = [measure(model, guide, x, method="importance", draws=400) for _ in range(30)]
    assert_mean(torch.stack([r.elbo.pointwise for r in runs]), exact.elbo.pointwise)
    # exp(evidence estimate) is unbiased for the probability itself.
    ratios = torch.stack([(r.evidence.pointwise - exact.evidence.pointwise).exp() for r in runs])
    assert_mean(ratios, torch.ones(9))
    assert runs[0].evidence.bound == "lower"
    # The error it reports is the error it makes.
    spread = torch.tensor([r.evidence.mean for r in runs]).std().item()
    assert 0.6 < spread / np.mean([r.evidence.se for r in runs]) < 1.6
    assert runs[0].gap.se < runs[0].elbo.se + runs[0].evidence.se


def test_the_elbo_of_watching_agrees_with_the_exact_one():
    model, guide, x = text_pair(3)
    samples = torch.stack([sampled_elbo(model, guide, x, 2) for _ in range(400)])
    assert_mean(samples, measure(model, guide, x).elbo.pointwise)


def test_perfect_guides_have_constant_weights_and_exact_evidence():
    x = torch.randn(4)
    found = measure(*uninformative_bits(torch.zeros(2)), x, method="importance", draws=50)
    assert found.evidence.bound == "exact"
    assert "constant importance weights" in found.evidence.method
    assert found.gap.mean == 0
    torch.testing.assert_close(found.evidence.pointwise, dist.Normal(0.0, 1.0).log_prob(x))


def test_collapsed_guides_are_not_taken_for_perfect_ones():
    """All draws the same: the weights are constant, and the evidence two log 2 too low."""
    x = torch.randn(4)
    found = measure(*uninformative_bits(torch.full((2,), 60.0)), x, method="importance", draws=50)
    assert found.evidence.bound == "lower"
    assert "4 of 4 data have too few different draws" in found.evidence.warnings[0]
    some = from_log_weights(torch.zeros(50, 2), torch.tensor([True, False]))
    assert some.evidence.k_hat[0] == -torch.inf
    assert some.evidence.k_hat[1].isnan()


def test_tied_weights_are_not_taken_for_constant_ones():
    """One bit of twenty matters: half the weights are equal and largest, and the guide is not the posterior."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(20)).to_event(1))
            pyro.sample("x", dist.Normal(3 * z[..., 0], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=torch.zeros(20)).to_event(1))

    found = measure(model, guide, torch.zeros(4), draws=100)
    assert found.evidence.bound == "lower"
    assert found.gap.mean > 0.5
    assert found.evidence.warnings


def test_constant_weights_of_a_guide_that_leaves_out_half_are_a_bound():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(20)).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 0], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=torch.tensor([30.0] + [0.0] * 19).expand(len(x), 20)).to_event(1))

    found = measure(model, guide, torch.zeros(3), draws=50)
    assert found.evidence.bound == "lower"
    assert "constant where the guide draws, but not elsewhere" in found.evidence.warnings[0]


def test_blocks_with_and_without_constant_weights_join():
    rough = from_log_weights(torch.randn(50, 2), torch.ones(2).bool())
    flat = from_log_weights(torch.zeros(50, 2), torch.ones(2).bool())
    for parts in ([rough, flat], [flat, rough]):
        joined = Evidence.join(parts)
        assert joined.evidence.bound == "lower"
        assert joined.evidence.se == pytest.approx(rough.evidence.se / 2)
        assert len(joined.evidence.k_hat) == 4


def test_impossible_data_are_reported_and_not_averaged_silently():
    weights = torch.randn(50, 3).double()
    weights[:, 1] = -torch.inf
    found = from_log_weights(weights, torch.ones(3).bool()).evidence
    assert found.pointwise[1] == -torch.inf
    assert "1 data have probability zero" in found.warnings[0]
    assert found.to_json()["mean"] is None


def test_priors_without_a_known_map_are_left_to_importance():
    """A mixture as the prior, as learned priors are, and counts."""

    def mixture(x):
        with pyro.plate("data", len(x)):
            parts = dist.Normal(torch.tensor([-1.0, 1.0]), 0.5)
            z = pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), parts))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 1.0))

    def counts(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Poisson(2.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def counted(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Poisson(2.0 + 0 * x))

    for model, q in ((mixture, guide), (counts, counted)):
        assert measure(model, q, torch.randn(4), draws=30).evidence.method == "importance, 30 draws"

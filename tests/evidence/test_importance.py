"""Importance sampling: unbiased weights, constant weights, and their errors."""

from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from ppl_vae.evidence.importance import from_log_weights, sampled_elbo
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.results import Evidence
from tests.support.repeated import measured
from tests.support.small_pairs import text_pair, uninformative_bits
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def test_importance_weights_agree_with_enumeration():
    model, guide, x = text_pair(3, 1)
    exact = measure(model, guide, x)
    runs = measured(30, model, guide, x, method="importance", draws=400)
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
    samples = torch.stack([sampled_elbo(model, guide, x, 2) for _ in range(200)])
    assert_mean(samples, measure(model, guide, x).elbo.pointwise)


def test_constant_weights_are_a_bound_that_says_what_would_make_it_exact():
    x = torch.randn(4)
    found = measure(*uninformative_bits(torch.zeros(2)), x, method="importance", draws=50)
    assert found.evidence.bound == "lower"
    assert found.gap.mean == pytest.approx(0)
    torch.testing.assert_close(found.evidence.pointwise, dist.Normal(0.0, 1.0).log_prob(x))
    (note,) = found.evidence.warnings
    assert "constant over 50 draws of the guide and 256 of the prior: exact if the guide covers the posterior" in note
    assert "under 1.2% of the prior's mass" in note


def test_an_exact_posterior_beyond_the_exact_methods_is_not_called_exact():
    """Gamma rates of Poisson counts, whose posterior is gamma: the weights are constant."""
    rates = torch.tensor([0.5, 1.0, 2.0])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(2 * torch.ones(3), rates).to_event(1))
            pyro.sample("x", dist.Poisson(z).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Gamma(2 + x, rates + 1).to_event(1))

    x = torch.poisson(torch.full((5, 3), 2.0))
    found = measure(model, guide, x, draws=50)
    truth = stats.nbinom(2, rates.numpy() / (1 + rates.numpy())).logpmf(x.numpy()).sum(-1)
    np.testing.assert_allclose(found.evidence.pointwise.numpy(), truth, atol=1e-6)
    assert found.evidence.bound == "lower"
    assert "exact if the guide covers the posterior" in found.evidence.warnings[0]


@pytest.mark.parametrize("seed", range(5))
def test_a_guide_that_misses_a_mode_behind_a_threshold_is_never_exact(seed):
    """The prior as the guide: the weights are constant until a draw of 3.5 standard deviations shows the rest."""
    torch.manual_seed(seed)
    x = torch.full((1,), 12.0)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(30 * (z[..., 0] - 3).relu(), 3.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 3), 1.0).to_event(1))

    found = measure(model, guide, x, draws=100)
    grid = np.linspace(-9, 9, 20001)
    truth = np.log(np.trapezoid(np.exp(stats.norm(30 * np.maximum(grid - 3, 0), 3).logpdf(12.0) - grid**2 / 2), grid))
    truth -= np.log(2 * np.pi) / 2
    assert found.evidence.bound == "lower"
    assert found.evidence.mean < truth - 0.5
    assert found.evidence.warnings


def test_a_rare_bit_that_the_guide_leaves_out_is_never_exact():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.tensor([1e-6] + [0.5] * 19)).to_event(1))
            pyro.sample("x", dist.Normal(8 * z[..., 0], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(torch.tensor([1e-9] + [0.5] * 19).expand(len(x), 20)).to_event(1))

    found = measure(model, guide, torch.full((2,), 8.0), draws=50)
    assert found.evidence.bound == "lower"
    assert found.evidence.mean < stats.norm.logpdf(0) + np.log(1e-6) - 5
    assert "leaves out a part of the posterior" in found.evidence.warnings[0]


def test_samples_without_a_density_count_as_impossible_and_are_counted():
    """exp(2000 z) overflows for z > 0.35, and x log(rate) - rate is NaN there."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Poisson((2000 * z[..., 0]).exp()), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 3), 1.0).to_event(1))

    for method in ("importance", "psis", "auto"):
        found = measure(model, guide, torch.ones(4), method=method, draws=200)
        lost = found.evidence.lost
        assert 0.3 < lost / 800 < 0.42  # a share of 0.36 in expectation
        assert any(f"{lost} of 800 samples have no density (NaN)" in line for line in found.evidence.warnings)
        assert found.evidence.pointwise.isfinite().all()
        assert found.elbo.pointwise.isneginf().all()
        assert found.elbo.se == 0


def test_infinite_densities_are_refused_by_site_and_datum():
    class Spike(dist.Normal):
        def log_prob(self, value):
            return super().log_prob(value).masked_fill(value == 0, torch.inf)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", Spike(z[..., 0], 1.0), obs=x)

    def rounding(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 3), 1.0).to_event(1))

    class Wrong(dist.Normal):
        def log_prob(self, value):
            return torch.full_like(value, -torch.inf)

    def strange(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", Wrong(torch.zeros(len(x), 3), 1.0).to_event(1))

    x = torch.full((4,), 0.5)
    with pytest.raises(ValueError, match="draws a value of site 'z' for datum 0 that has density zero"):
        measure(rounding, strange, x, method="importance")
    x[2] = 0
    with pytest.raises(ValueError, match="the observation is infinite for datum 2"):
        measure(model, guide, x, method="importance")


def test_collapsed_guides_are_not_taken_for_perfect_ones():
    """All draws the same: the weights are constant, and the evidence two log 2 too low."""
    x = torch.randn(4)
    pair = uninformative_bits(torch.full((2,), 60.0))
    found = measure(*pair, x, method="importance", draws=50, prior_share=0.0)
    assert found.evidence.bound == "lower"
    assert any("4 of 4 data have too few different draws" in line for line in found.evidence.warnings)
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

    found = measure(model, guide, torch.zeros(4), draws=100, check=False)
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

    found = measure(model, guide, torch.zeros(3), draws=50, prior_share=0.0)
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
    def counts(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Poisson(2.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def counted(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Poisson(2.0 + 0 * x))

    assert measure(counts, counted, torch.randn(4), draws=30).evidence.method.startswith("importance, 30 draws")


def test_densities_lost_to_rounding_are_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x, last=1e-20):  # far below the spacing of floats near 1, to which draws are rounded
        with pyro.plate("data", len(x)):
            tril = torch.tensor([[1.0, 0.0], [0.7, last]])
            pyro.sample("z", dist.MultivariateNormal(torch.full((len(x), 2), 0.3), scale_tril=tril))

    with pytest.raises(ValueError, match=r"own draws for datum 0 have a density .* nearly singular; train the guide"):
        measure(model, guide, torch.zeros(3, 2), method="importance")
    assert measure(model, partial(guide, last=0.1), torch.zeros(3, 2), method="importance").elbo.mean < 0

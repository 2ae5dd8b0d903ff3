"""Binomial latents and data whose number of trials is another latent, against sums over all values in SciPy."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import binom, norm, poisson

import ppl_vae as pv
from ppl_vae.programs.handlers import log_prob
from ppl_vae.programs.sites import model_sites

X = torch.tensor([0.0, 1.0, 3.0])


def pair(trials, observed):
    """A model of k successes in n trials, observed or behind noise, and the prior as its guide."""

    def draw(x, model):
        with pyro.plate("data", len(x)):
            n = pyro.sample("n", trials.expand([len(x)]))
            k = {"obs": x} if observed else {}
            if model or not observed:
                k = pyro.sample("x" if observed else "k", dist.Binomial(n, probs=torch.tensor(0.5)), **k)
            if model and not observed:
                pyro.sample("x", dist.Normal(k, 1.0), obs=x)

    return lambda x: draw(x, True), lambda x: draw(x, False)


def test_trials_observed_of_a_number_that_is_summed_over():
    result = pv.measure(*pair(dist.Binomial(4, probs=torch.tensor(0.6)), observed=True), X)
    n = np.arange(5)[:, None]
    expected = logsumexp(binom.logpmf(n, 4, 0.6) + binom.logpmf(X.numpy(), n, 0.5), axis=0)
    assert result.evidence.bound == "exact"
    np.testing.assert_allclose(result.evidence.pointwise, expected, atol=1e-5)
    assert result.elbo.mean == -torch.inf  # the guide draws fewer trials than successes


@pytest.mark.parametrize("trials", ["binomial", "poisson"])
def test_successes_among_drawn_trials_are_sampled_never_listed(trials):
    n = np.arange(60)[:, None, None]
    prior = dist.Binomial(4, probs=torch.tensor(0.6)) if trials == "binomial" else dist.Poisson(torch.tensor(3.0))
    mass = binom.logpmf(n, 4, 0.6) if trials == "binomial" else poisson.logpmf(n, 3.0)
    k = np.arange(60)[:, None]
    expected = logsumexp(mass + binom.logpmf(k, n, 0.5) + norm.logpdf(X.numpy(), k, 1.0), axis=(0, 1))
    model, guide = pair(prior, observed=False)
    for x in (X, X[:1]):  # a single datum shows no difference between data
        assert next(site for site in model_sites(model, x) if site.name == "k").kind == "score"
    evidence = pv.measure(model, guide, X, draws=4000, check=False).evidence
    assert evidence.bound == "lower"
    np.testing.assert_array_less(np.abs(evidence.pointwise.numpy() - expected), 5 * evidence.pointwise_se.numpy())


def test_thinned_poisson_numbers_are_poisson():
    evidence = pv.measure(*pair(dist.Poisson(torch.tensor(3.0)), observed=True), X, draws=4000, check=False).evidence
    np.testing.assert_array_less(
        np.abs(evidence.pointwise.numpy() - poisson.logpmf(X.numpy(), 1.5)), 5 * evidence.pointwise_se.numpy()
    )


def test_a_limit_that_differs_in_one_rare_state_is_refused_by_name():
    rare = torch.tensor([0.999, 0.001])

    def model(x):
        with pyro.plate("data", len(x)):
            a, b = (pyro.sample(name, dist.Categorical(rare)) for name in "ab")
            k = pyro.sample("k", dist.Binomial(1 + 2 * a * (1 - b), probs=torch.tensor(0.5)))
            pyro.sample("x", dist.Normal(k, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            for name in "ab":
                pyro.sample(name, dist.Categorical(torch.full((len(x), 2), 0.5)))
            pyro.sample("k", dist.Binomial(1, probs=torch.full((len(x),), 0.5)))

    with pytest.raises(ValueError, match="the largest value of site 'k', Binomial, depends on other latents"):
        pv.measure(model, guide, X)


def test_values_outside_a_support_that_depends_on_latents_are_impossible_and_missing_ones_are_not():
    x = torch.tensor([[2.0, torch.nan, -1.0], [5.0, 1.0, 1.0]])
    fn = dist.Binomial(4, probs=torch.tensor(0.5)).expand([2, 3]).mask((x >= 0) & ~x.isnan()).to_event(1)
    site = {"name": "x", "fn": fn, "value": x, "is_observed": True, "mask": None, "scale": 1.0}
    for checked in (True, False):
        with pyro.validation_enabled(checked):
            np.testing.assert_allclose(log_prob(site), [binom.logpmf(2, 4, 0.5), -np.inf], rtol=1e-6)

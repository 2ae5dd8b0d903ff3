"""Values of latents with probability 0: PyTorch takes 1.2e-7 for it, and no evidence may depend on that unsaid."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

import ppl_vae as pv
from ppl_vae.programs.clamped import unclamped, watching_clamps

MEANS = np.array([0.0, 1.0, 10.0])
X = torch.tensor([0.0, 5.0, 10.0])


def mixture(prior, guide=None):
    """Normal clusters around 0, 1 and 10, and a guide that takes each in a third of the cases."""

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", prior)
            pyro.sample("x", dist.Normal(torch.tensor(MEANS).float()[k.long()], 1.0), obs=x)

    def guide_program(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", guide or dist.Categorical(probs=torch.ones(3) / 3))

    return model, guide_program


def truth(weights, x):
    """log p(x) of the mixture of the clusters that are possible."""
    possible = np.flatnonzero(weights)
    densities = np.log(np.array(weights)[possible]) + norm.logpdf(x[:, None], MEANS[possible], 1)
    return logsumexp(densities, axis=1)


@pytest.mark.parametrize("method", ["auto", "importance"])
def test_an_evidence_that_depends_on_an_excluded_value_is_refused(method):
    prior = dist.Categorical(probs=torch.tensor([0.5, 0.5, 0.0]))
    with pytest.raises(ValueError, match=r"site 'k' gives some values a probability of 0.*datum 2 depends on it"):
        pv.measure(*mixture(prior), X, method=method)


def test_an_evidence_that_depends_on_a_probability_below_that_of_rounding_is_refused_and_logits_are_exact():
    weights = [0.5, 0.5 - 1e-12, 1e-12]
    prior = torch.tensor(weights)
    with pytest.raises(ValueError, match=r"or one below 1.2e-7.*datum 2 depends on it: -1[67].*give logits"):
        pv.measure(*mixture(dist.Categorical(probs=prior)), X)
    expected = truth(weights, X.numpy())
    for given, x in ((dist.Categorical(logits=prior.log()), X), (dist.Categorical(probs=prior), X[:1])):
        evidence = pv.measure(*mixture(given), x).evidence
        assert evidence.bound == "exact"
        np.testing.assert_allclose(evidence.pointwise, expected[: len(x)], atol=1e-4)


@pytest.mark.parametrize(
    ("rounded", "exact", "value"),
    [
        (dist.Bernoulli(probs=torch.tensor([0.0, 1e-9, 0.3])), [0.0, 1e-9, 0.3], [1.0, 1.0, 1.0]),
        (dist.Binomial(4, probs=torch.tensor([0.0, 1e-9, 0.3])), [4 * 0.0, 4e-9, 4 * 0.3 * 0.7**3], [1.0, 1.0, 1.0]),
        (dist.OneHotCategorical(probs=torch.tensor([1.0, 1e-9])), 1e-9, [0.0, 1.0]),
        (dist.OneHotCategorical(probs=torch.tensor([1.0, 0.0])), 1.0, [1.0, 0.0]),
        (dist.Multinomial(2, probs=torch.tensor([0.5, 0.5, 0.0])), 0.0, [1.0, 0.0, 1.0]),
    ],
)
def test_log_densities_without_rounding(rounded, exact, value):
    site = {"name": "z", "is_observed": False, "value": torch.tensor(value), "fn": rounded}
    with watching_clamps(strict="latent") as found, np.errstate(divide="ignore"):
        density = unclamped(site, rounded.log_prob(site["value"]))
        np.testing.assert_allclose(density, np.log(exact), atol=1e-5)
    assert bool(found.sites) == (np.min(exact) < 1e-7)


def test_where_it_does_not_matter_the_evidence_is_exact_and_a_note_is_on_the_elbo():
    weights = [0.5, 0.5, 0.0]
    result = pv.measure(*mixture(dist.Categorical(probs=torch.tensor(weights))), X[:1])
    assert result.evidence.bound == "exact"
    np.testing.assert_allclose(result.evidence.pointwise, truth(weights, X[:1].numpy()), atol=1e-5)
    assert any("strictly it is minus infinity" in note for note in result.elbo.notes)


def test_logits_of_minus_infinity_exclude_a_value_without_a_question():
    weights = [0.5, 0.5, 0.0]
    prior = dist.Categorical(logits=torch.tensor(weights).log())
    result = pv.measure(*mixture(prior, guide=dist.Categorical(logits=torch.tensor([0.0, 0.0, -torch.inf]))), X)
    np.testing.assert_allclose(result.evidence.pointwise, truth(weights, X.numpy()), rtol=1e-5)
    assert not result.warnings and result.elbo.pointwise.isfinite().all()


def test_a_chain_that_only_moves_on_is_exact():
    chain = np.array([[0.7, 0.3, 0.0], [0.0, 0.6, 0.4], [0.0, 0.0, 1.0]])
    x = torch.tensor([[0.1, 0.9, 1.2, 9.5], [0.0, -0.3, 1.0, 1.1]])

    def model(x):
        with pyro.plate("data", len(x)):
            k = torch.zeros(len(x)).long()
            for t in range(4):
                k = pyro.sample(f"k{t}", dist.Categorical(torch.tensor(chain).float()[k.long()]))
                pyro.sample(f"x{t}", dist.Normal(torch.tensor(MEANS).float()[k.long()], 1.0), obs=x[:, t])

    def guide(x):
        with pyro.plate("data", len(x)):
            for t in range(4):
                pyro.sample(f"k{t}", dist.Categorical(probs=torch.ones(3) / 3))

    forward = np.eye(3)[[0, 0]]
    for t in range(4):
        forward = forward @ chain * np.exp(norm.logpdf(x[:, t].numpy()[:, None], MEANS, 1))
    result = pv.measure(model, guide, x)
    assert result.evidence.bound == "exact"
    np.testing.assert_allclose(result.evidence.pointwise, np.log(forward.sum(1)), atol=1e-4)


@pytest.mark.parametrize(("probability", "refused"), [(0.0, True), (1.0, True), (0.5, False)])
def test_bits_that_are_certain_are_refused_where_it_matters(probability, refused):
    prior = dist.Bernoulli(probs=torch.tensor([probability, 0.5])).to_event(1)

    def model(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", prior)
            pyro.sample("x", dist.Normal(b @ torch.tensor([10.0, 1.0]), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Bernoulli(probs=torch.full((len(x), 2), 0.5)).to_event(1))

    if refused:
        with pytest.raises(ValueError, match="site 'b' gives some values a probability of 0"):
            pv.measure(model, guide, X)
        return
    log_weights = np.log([[1 - probability], [probability]]) + np.log(0.5)
    states = [(a, b) for a in (0, 1) for b in (0, 1)]
    densities = [log_weights[a, 0] + norm.logpdf(X.numpy(), 10 * a + b, 1) for a, b in states]
    np.testing.assert_allclose(pv.measure(model, guide, X).evidence.pointwise, logsumexp(densities, axis=0), rtol=1e-5)


def test_bits_with_infinite_logits_are_refused_by_name():
    prior = dist.Bernoulli(logits=torch.tensor([torch.inf, 0.0])).to_event(1)

    def model(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", prior)
            pyro.sample("x", dist.Normal(b.sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Bernoulli(probs=torch.full((len(x), 2), 0.5)).to_event(1))

    with pytest.raises(ValueError, match="site 'b' has infinite logits"):
        pv.measure(model, guide, X)

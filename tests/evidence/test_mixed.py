"""Discrete latents beside continuous ones: the discrete are summed out, exactly."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from scipy import stats
from scipy.special import logsumexp

from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.methods.mixed_importance import MixedImportance
from ppl_vae.evidence.plan import plan
from tests.support.repeated import measured
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

K, LATENTS, OBSERVED = 3, 3, 4


class Mixture(PyroModule):
    """A mixture of Gaussians seen through a map, linear or with a layer of tanh, and a guide of the same structure."""

    def __init__(self, hidden: bool, latents: int = LATENTS) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.randn(K))
        self.loc = torch.nn.Parameter(torch.randn(K, latents))
        self.log_scale = torch.nn.Parameter(0.3 * torch.randn(K, latents))
        first = [torch.nn.Linear(latents, 5), torch.nn.Tanh()] if hidden else []
        self.net = torch.nn.Sequential(*first, torch.nn.Linear(5 if hidden else latents, OBSERVED))
        self.encoder = torch.nn.Linear(OBSERVED + K, latents)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=self.logits))
            w = pyro.sample("w", dist.Normal(self.loc[k], self.log_scale[k].exp()).to_event(1))
            pyro.sample("x", dist.Normal(self.net(w), 0.7).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=x[..., :K]))
            one = torch.nn.functional.one_hot(k, K).to(x)
            loc = self.encoder(torch.cat([x.expand(*k.shape, OBSERVED), one], -1))
            pyro.sample("w", dist.Normal(loc, 0.8).to_event(1))

    def evidence(self, x):
        """Of the linear model: a mixture of Gaussians."""
        shares = self.logits.log_softmax(0).detach().numpy()
        weight, bias = (p.detach().numpy() for p in self.net[0].parameters())
        loc, variance = self.loc.detach().numpy(), (2 * self.log_scale).exp().detach().numpy()
        terms = [
            shares[k]
            + stats.multivariate_normal(
                weight @ loc[k] + bias, weight * variance[k] @ weight.T + 0.49 * np.eye(OBSERVED)
            ).logpdf(x.numpy())
            for k in range(K)
        ]
        return logsumexp(terms, 0)


def test_a_mixture_of_factor_analysers_has_a_closed_form():
    pair, x = Mixture(hidden=False), torch.randn(7, OBSERVED)
    found = measure(pair, pair.guide, x)
    assert found.evidence.bound == "exact"
    assert found.evidence.method == "sum over 3 states, closed form"
    assert found.why == "given each of 3 states of the discrete latents, the others can be integrated out"
    np.testing.assert_allclose(found.evidence.pointwise.numpy(), pair.evidence(x), atol=1e-8)
    single = measure(pair.float(), pair.guide, x.float()).evidence.pointwise
    np.testing.assert_allclose(single.numpy(), pair.evidence(x), atol=1e-4)


def test_the_weights_summed_over_the_states_are_unbiased_whatever_the_guide_thinks_of_them():
    pair, x = Mixture(hidden=False), torch.randn(5, OBSERVED)
    truth = torch.from_numpy(pair.evidence(x))

    def stubborn(x):
        """Always the first state."""
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(logits=torch.tensor([40.0, 0.0, 0.0])))
            pyro.sample("w", dist.Normal(0.3 * x[:, :LATENTS], 1.5).to_event(1))

    for guide in (pair.guide, stubborn):
        runs = measured(30, pair, guide, x, method="mixed_importance", draws=100)
        assert {run.evidence.bound for run in runs} == {"lower"}
        assert_mean(torch.stack([(run.evidence.pointwise - truth).exp() for run in runs]), torch.ones(5))
    alone = measure(pair, stubborn, x, method="importance", draws=400, prior_share=0.0)
    assert alone.evidence.mean < truth.mean() - 0.1


@pytest.mark.parametrize("latents", [2, 3])
def test_a_network_is_left_to_quadrature_or_importance(latents):
    pair, x = Mixture(hidden=True, latents=latents), torch.randn(4, OBSERVED)
    found = measure(pair, pair.guide, x, draws=500, check=True)
    if latents == 2:
        assert found.evidence.bound == "exact"
        assert found.evidence.method.startswith("sum over 3 states, quadrature")
        truth = found.evidence.pointwise
        sampled = measure(pair, pair.guide, x, draws=500, method="mixed_importance", check=True)
        assert (sampled.evidence.mean - truth.mean()).abs() < 5 * sampled.evidence.se + 0.02
        assert sampled.shortfall is not None
        noise = 5 * sampled.shortfall.se
        assert -noise < sampled.shortfall.mean < 0.2 + noise
    else:
        assert found.evidence.method == "sum over 3 states, importance, 500 draws and 50 of the prior"
        assert "mixed: the latents have 3 dimensions, given the discrete ones" in found.why


def test_no_method_sends_a_mixture_in_a_circle():
    pair, x = Mixture(hidden=False), torch.randn(4, OBSERVED)
    for method in ("enumeration", "closed_form", "quadrature"):
        with pytest.raises(ValueError, match=r"site '.' is \w+; use the method 'mixed'"):
            measure(pair, pair.guide, x, method=method)
    pair = Mixture(hidden=True)
    with pytest.raises(ValueError, match="use the method 'mixed_importance' or 'importance' or 'psis' or 'annealing'"):
        measure(pair, pair.guide, x, method="mixed")


def test_states_that_follow_the_numbers_are_summed_too():
    """k given w: a probit-like choice."""

    def model(x):
        with pyro.plate("data", len(x)):
            w = pyro.sample("w", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Bernoulli(logits=3 * w[..., None] - torch.tensor([1.0, -1.0])).to_event(1))
            pyro.sample("x", dist.Normal(w + 2 * b[..., 0] - b[..., 1], 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            w = pyro.sample("w", dist.Normal(0.3 * x, 1.0))
            pyro.sample("b", dist.Bernoulli(logits=w[..., None] * torch.ones(2)).to_event(1))

    x = torch.randn(6)
    w = np.linspace(-9, 9, 4001)
    total = -np.inf
    for first in (0, 1):
        for second in (0, 1):
            logits = 3 * w[:, None] - np.array([1.0, -1.0])
            chosen = np.array([first, second])
            prior = stats.norm.logpdf(w) - np.log1p(np.exp((1 - 2 * chosen) * logits)).sum(-1)
            likelihood = stats.norm(w + 2 * first - second, 0.5).logpdf(x.numpy()[:, None])
            total = np.logaddexp(total, logsumexp(prior + likelihood, -1) + np.log(w[1] - w[0]))
    found = measure(model, guide, x)
    assert found.evidence.method.startswith("sum over 4 states, quadrature")
    np.testing.assert_allclose(found.evidence.pointwise.numpy(), total, atol=1e-4)
    runs = measured(30, model, guide, x, method="mixed_importance", draws=300)
    assert_mean(torch.stack([(r.evidence.pointwise - torch.from_numpy(total)).exp() for r in runs]), torch.ones(6))


def test_many_states_are_summed_only_on_request():
    def model(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Bernoulli(0.5 * torch.ones(9)).to_event(1))
            w = pyro.sample("w", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(w + b.sum(-1), 1.0), obs=x)

    x = torch.randn(2)
    chosen = plan(model, x)
    assert chosen.method.name == "importance"
    assert "mixed: the sum over 512 states, one by one, is done only if requested" in chosen.why
    assert plan(model, x, method="mixed").method.name == "mixed"
    with pytest.raises(ValueError, match="the latents have 512 joint states, more than 2.4"):
        plan(model, x, method="mixed", most_bits=4)


def test_another_method_serves_where_only_some_states_can_be_integrated():
    """Three numbers that are Gaussian given the first state and not given the second."""

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(torch.tensor(0.5)))
            w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            loc = torch.where(k[..., None] == 0, w, (2 * w).tanh())
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Bernoulli(torch.tensor(0.5)))
            pyro.sample("w", dist.Normal(0.8 * x, 0.5).to_event(1))

    x = torch.randn(3, 3)
    assert measure(model, guide, x).evidence.bound == "lower"
    with pytest.raises(ValueError, match="3 continuous dimensions and 0 bits, given some states of the discrete ones"):
        measure(model, guide, x, method="mixed")


RARE = 0.003


def rare_bit(x):
    """A normal that a bit of low probability moves by 8."""
    with pyro.plate("data", len(x)):
        b = pyro.sample("b", dist.Bernoulli(RARE))
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(w + 8 * b, 0.5), obs=x)


def without_it(x):
    """The posterior where the bit is zero: all its weights, given either value of the bit, are the same."""
    with pyro.plate("data", len(x)):
        pyro.sample("b", dist.Bernoulli(torch.full((len(x),), 1e-6)))
        pyro.sample("w", dist.Normal(0.8 * x, 0.2**0.5))


def of_rare_bit(x):
    """log p(x, b) for both values of the bit, ``(2, data)``."""
    scale = 1.25**0.5
    return np.stack([np.log(1 - RARE) + stats.norm(0, scale).logpdf(x), np.log(RARE) + stats.norm(8, scale).logpdf(x)])


@pytest.mark.parametrize("where", [4.9, 8.0])
def test_a_bit_that_the_guide_leaves_out_is_found_by_samples_of_the_prior_given_it(where):
    x = torch.full((20,), where) + 0.1 * torch.randn(20)
    truth = np.logaddexp(*of_rare_bit(x.numpy())).mean()
    alone, found = (
        measure(rare_bit, without_it, x, method="mixed_importance", draws=200, prior_share=share, check=False)
        for share in (0.0, 0.1)
    )
    assert truth - alone.evidence.mean > 0.5  # and weights that are all the same
    assert truth - found.evidence.mean < 0.4 and truth in found.bracket()
    assert any("guide leaves out a part of their posterior" in line for line in found.warnings)
    with pytest.raises(ValueError, match="prior_share is a number from 0 to 10, got -1"):
        measure(rare_bit, without_it, x, method="mixed_importance", prior_share=-1.0)


def test_constant_weights_of_most_data_are_told_with_what_they_may_miss():
    x = torch.cat([torch.zeros(20), torch.tensor([4.9])])
    found = measure(rare_bit, without_it, x, method="importance", draws=100)
    (line,) = [line for line in found.warnings if "constant" in line]
    assert "data are constant over 100 draws of the guide and 256 of the prior" in line or "but not elsewhere" in line
    assert found.bracket().upper is None


def test_the_upper_bound_of_a_sum_over_states_has_the_inverse_evidence_for_its_mean():
    """A sample of the posterior among those of guide and prior: the mean of 1 over the mean weight is 1 / p(x)."""
    x = torch.full((4000,), 4.5)
    joint = of_rare_bit(x.numpy())
    b = torch.from_numpy(np.random.default_rng(0).random(len(x)) < np.exp(joint[1] - np.logaddexp(*joint))).double()
    w = 0.8 * (x - 8 * b) + 0.2**0.5 * torch.randn(len(x))
    method = MixedImportance(draws=4, prior_share=0.5)
    found = method.shortfall(rare_bit, without_it, x, {"b": b, "w": w})
    inverse = (np.logaddexp(*joint) - (found.lower + found.pointwise).numpy()).clip(-50)
    assert_mean(torch.from_numpy(np.exp(inverse)), torch.tensor(1.0))

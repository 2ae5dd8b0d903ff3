"""Sums over all states, their blocks, and states or data that are impossible."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.mean_field import MeanField
from scipy.special import logsumexp
from scipy.stats import binom, norm

from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.log_weight import log_joint, log_proposal
from tests.support.repeated import measured
from tests.support.small_pairs import BitsOfPoints, text_pair, uninformative_bits
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def brute_force(model, guide, x):
    """Evidence and ELBO of each document by a Python loop over codes."""
    joint, proposal = [], []
    for code in bit_states(model.bits):
        values = {"z": code.expand(1, len(x), -1).clone()}
        joint.append(log_joint(model, x, values)[0])
        proposal.append(log_proposal(guide, x, values)[0])
    joint, proposal = torch.stack(joint), torch.stack(proposal)
    return joint.logsumexp(0), (proposal.exp() * (joint - proposal)).sum(0)


@pytest.mark.parametrize("guide", [MeanField, Full])
@pytest.mark.parametrize(("bits", "hidden"), [(1, 0), (3, 1), (5, 2)])
def test_enumeration_is_the_sum_over_codes(bits, hidden, guide):
    pair = text_pair(bits, hidden, guide)
    evidence, elbo = brute_force(*pair)
    found = measure(*pair)
    torch.testing.assert_close(found.evidence.pointwise, evidence)
    torch.testing.assert_close(found.elbo.pointwise, elbo)
    torch.testing.assert_close(found.gap.pointwise, evidence - elbo)
    assert (found.evidence.bound, found.evidence.se, found.elbo.se) == ("exact", 0, 0)
    assert found.evidence.method == f"enumeration of {2**bits} states"


def test_enumeration_does_not_depend_on_blocks_or_on_the_company_of_other_data(monkeypatch):
    model, guide, x = text_pair(5, 1)
    whole = measure(model, guide, x).evidence.pointwise
    monkeypatch.setattr("ppl_vae.evidence.methods.enumeration.CELLS", 30)
    torch.testing.assert_close(measure(model, guide, x).evidence.pointwise, whole)
    order = [4, 0, 8]
    torch.testing.assert_close(measure(model, guide, x[order]).evidence.pointwise, whole[order])
    torch.testing.assert_close(measure(model, guide, x[:1]).evidence.pointwise, whole[:1])


def test_masked_latents_are_not_enumerated_as_if_unmasked():
    def draw(x):
        return pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1).mask(x > 0))

    def guide(x):
        with pyro.plate("data", len(x)):
            draw(x)

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(draw(x).sum(-1), 1.0), obs=x)

    def silent(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(torch.where(x > 0, draw(x).sum(-1), -1.0), 1.0), obs=x)

    x = torch.tensor([-0.5, 0.3, 1.2, -2.0])
    with pytest.raises(ValueError, match="site 'x' depends on masked latents"):
        measure(model, guide, x, method="enumeration")
    parts = norm.logpdf(x.numpy()[:, None], [0, 1, 1, 2]) - np.log(4)
    truth = np.where(x > 0, logsumexp(parts, 1), norm.logpdf(x.numpy(), -1))
    found = measure(silent, guide, x, method="enumeration").evidence
    np.testing.assert_allclose(found.pointwise, truth, atol=1e-6)


def test_densities_that_are_not_numbers_stay_so():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 0] * torch.nan, 1.0, validate_args=False), obs=x)

    pyro.enable_validation(False)
    found = measure(model, uninformative_bits(torch.zeros(2))[1], torch.randn(3))
    assert found.elbo.pointwise.isnan().all()


def test_codes_impossible_for_some_data_do_not_spoil_the_others():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Uniform(-z.sum(-1), 0.2 + z.sum(-1), validate_args=False), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=torch.zeros(2)).to_event(1))

    x = torch.tensor([0.1, 0.5, -1.5, 9.0])
    pyro.enable_validation(False)
    found = measure(model, guide, x).evidence
    expected = torch.tensor([0.25 / 0.2 + 0.5 / 2.2 + 0.25 / 4.2, 0.5 / 2.2 + 0.25 / 4.2, 0.25 / 4.2, 0.0]).log()
    torch.testing.assert_close(found.pointwise, expected)


def test_a_bound_from_draws_beside_exact_evidence(monkeypatch):
    """What a guide with a dear density gets."""
    model, guide, x = text_pair(3, 1, Full)
    exact = measure(model, guide, x)
    monkeypatch.setattr("ppl_vae.evidence.methods.enumeration.CHEAP_STATES", 4)
    sampled = measured(20, model, guide, x, draws=100)
    torch.testing.assert_close(sampled[0].evidence.pointwise, exact.evidence.pointwise)
    assert sampled[0].gap.bound == "unbiased"
    assert_mean(torch.stack([s.gap.pointwise for s in sampled]), exact.gap.pointwise)


def test_models_that_build_on_the_size_of_their_codes_are_enumerated_too():
    pair, x = BitsOfPoints(2), torch.randn(6, 3)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3 * torch.ones(2)).to_event(1))
            z = torch.cat([z, torch.zeros(*z.shape[:-2], len(x), 1)], -1)[..., :2]
            pyro.sample("x", dist.Normal(torch.tanh(2 * z @ pair.map), pair.noise.exp()).to_event(1), obs=x)

    ours, plain = measure(model, pair.guide, x), measure(pair.model, pair.guide, x)
    torch.testing.assert_close(ours.evidence.pointwise, plain.evidence.pointwise)


@pytest.mark.parametrize("trials", [[3, 3, 3, 3, 6, 8], [3, 6, 3, 3, 8, 3]], ids=["later", "at once"])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a normal"])
def test_states_that_differ_between_data_are_not_enumerated(trials, beside):
    trials, x = torch.tensor(trials, dtype=torch.get_default_dtype()), torch.tensor([0.0, 1.0, 2.0, 3.0, 6.0, 5.0])

    def mean(trials, chance):
        count = pyro.sample("count", dist.Binomial(trials, torch.tensor(chance)))
        return count + (pyro.sample("shift", dist.Normal(torch.zeros(len(trials)), 1.0)) if beside else 0.0)

    def model(x, trials):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mean(trials, 0.3), 1.0), obs=x)

    def guide(x, trials):
        with pyro.plate("data", len(x)):
            mean(trials, 0.4)

    found = measure(model, guide, x, trials, draws=5000)
    assert found.evidence.bound == "lower"
    assert "site 'count' is Binomial" in found.why
    scale = 2**0.5 if beside else 1.0
    truth = [
        logsumexp([binom.logpmf(k, n, 0.3) + norm.logpdf(value, k, scale) for k in range(int(n) + 1)])
        for value, n in zip(x.tolist(), trials.tolist(), strict=True)
    ]
    assert abs(found.evidence.mean - np.mean(truth)) < 5 * found.evidence.se
    same = measure(model, guide, x, torch.full_like(trials, 8.0))
    assert same.evidence.bound == "exact"

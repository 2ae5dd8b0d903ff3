import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.text import Text
from torch import nn

from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.importance import from_log_weights, sampled_elbo
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.psis import k_hat, k_hat_limit
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.log_weight import log_joint, log_proposal, log_weight
from tests.support.small_pairs import BitsOfPoints, documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def text_pair(bits=3, hidden=0, guide=MeanField):
    x = documents(9, 11)
    model = Text(11, bits=bits, hidden=hidden, width=8)
    return model, guide(model, x, width=8), x


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


def one_code(logits):
    """A model of two bits that explain nothing, and a guide with the logits given."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(0 * z[..., 0], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))

    return model, guide


def test_perfect_guides_have_constant_weights_and_exact_evidence():
    x = torch.randn(4)
    found = measure(*one_code(torch.zeros(2)), x, method="importance", draws=50)
    assert found.evidence.bound == "exact"
    assert "constant importance weights" in found.evidence.method
    assert found.gap.mean == 0
    torch.testing.assert_close(found.evidence.pointwise, dist.Normal(0.0, 1.0).log_prob(x))


def test_collapsed_guides_are_not_taken_for_perfect_ones():
    """All draws the same: the weights are constant, and the evidence two log 2 too low."""
    x = torch.randn(4)
    found = measure(*one_code(torch.full((2,), 60.0)), x, method="importance", draws=50)
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


def test_masked_latents_are_not_enumerated_as_if_unmasked():
    def masked(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1).mask(x > 0))

    with pytest.raises(ValueError, match="site 'z' is MaskedDistribution"):
        measure(masked, masked, torch.randn(4), method="enumeration")


def test_densities_that_are_not_numbers_stay_so():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 0] * torch.nan, 1.0, validate_args=False), obs=x)

    pyro.enable_validation(False)
    found = measure(model, one_code(torch.zeros(2))[1], torch.randn(3))
    assert found.elbo.pointwise.isnan().all()


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


def test_auxiliary_sites_are_refused_by_name():
    model, _ = one_code(torch.zeros(2))

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(0.5), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Bernoulli(logits=a[..., None] * torch.ones(2)).to_event(1))

    for method in ("auto", "importance"):
        with pytest.raises(ValueError, match=r"auxiliary sites \['a'\]"):
            measure(model, guide, torch.randn(3), method=method)


def test_a_bound_from_draws_beside_exact_evidence(monkeypatch):
    """What a guide with a dear density gets."""
    model, guide, x = text_pair(3, 1, Full)
    exact = measure(model, guide, x)
    monkeypatch.setattr("ppl_vae.evidence.methods.enumeration.CHEAP_STATES", 4)
    sampled = [measure(model, guide, x, draws=100) for _ in range(20)]
    torch.testing.assert_close(sampled[0].evidence.pointwise, exact.evidence.pointwise)
    assert sampled[0].gap.bound == "unbiased"
    assert_mean(torch.stack([s.gap.pointwise for s in sampled]), exact.gap.pointwise)


def test_few_draws_are_refused_and_impossible_enumeration_named():
    model, guide, x = text_pair(3)
    with pytest.raises(ValueError, match="at least 2 draws per datum, got 1"):
        measure(model, guide, x, method="importance", draws=1)
    model, guide, x = text_pair(17)
    with pytest.raises(
        ValueError, match="131072 joint states, more than 2.16; use the method 'importance' or 'psis' or 'annealing'"
    ):
        measure(model, guide, x, method="enumeration")
    assert measure(model, guide, x, draws=20).evidence.method == "importance, 20 draws"


class Batchnormed(pyro.nn.PyroModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((2,), 0.5)).to_event(1))
            mean = self.net(z.reshape(-1, 2)).reshape(*z.shape[:-1], 3)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)


def test_batch_norm_in_evaluation_scores_a_datum_alone_as_in_company():
    model, pair, x = Batchnormed(), BitsOfPoints(2), torch.randn(6, 3)
    model.train()
    model(x)  # moves the running statistics off their start
    whole = measure(model, pair.guide, x).evidence.pointwise
    torch.testing.assert_close(measure(model, pair.guide, x[3:4]).evidence.pointwise, whole[3:4])
    assert model.training


def test_models_that_build_on_the_size_of_their_codes_are_enumerated_too():
    pair, x = BitsOfPoints(2), torch.randn(6, 3)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3 * torch.ones(2)).to_event(1))
            z = torch.cat([z, torch.zeros(*z.shape[:-2], len(x), 1)], -1)[..., :2]
            pyro.sample("x", dist.Normal(torch.tanh(2 * z @ pair.map), pair.noise.exp()).to_event(1), obs=x)

    ours, plain = measure(model, pair.guide, x), measure(pair.model, pair.guide, x)
    torch.testing.assert_close(ours.evidence.pointwise, plain.evidence.pointwise)


def test_log_weight_is_differentiable_and_shaped_by_draws_and_data():
    model, guide, x = text_pair(4)
    weights = log_weight(model, guide, x, 7)
    assert weights.shape == (7, 9)
    weights.mean().backward()
    assert model.words.weight.grad is not None


def test_sites_outside_the_plate_are_named():
    def model(x):
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, scale), obs=x)

    def guide(x):
        pyro.sample("scale", dist.LogNormal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"site 'scale' of the model lies inside the plates \[\]"):
        log_weight(model, guide, torch.randn(3), 2)


@pytest.mark.parametrize("draws", [40, 100, 1000])
def test_k_hat_is_that_of_arviz(draws):
    weights = torch.randn(draws, 50) * torch.linspace(0.1, 4, 50)
    _, theirs = az.psislw(weights.T.numpy())
    np.testing.assert_allclose(k_hat(weights).numpy(), theirs, atol=1e-10)


def test_k_hat_of_constant_and_of_few_weights():
    assert k_hat(torch.zeros(100, 2)).tolist() == [-torch.inf] * 2
    assert k_hat(torch.randn(10, 2)).isnan().all()
    assert k_hat_limit(10) == 0

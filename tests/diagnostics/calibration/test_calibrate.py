"""Calibration: exact posteriors pass at the stated level; shifted, narrow, wide and collapsed guides are found."""

import json

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from scipy import stats

import ppl_vae as pv
from ppl_vae.diagnostics.calibration.ranks import places
from tests.support.small_pairs import LinearGaussian, text_pair
from tests.support.z_test import FLAKES, TESTS

ALPHA = FLAKES / TESTS


def number_beside_a_bit(shift=0.0, narrow=1.0, logits=0.0):
    """A pair of a bit, a number that depends on it, and x; its guide is the posterior where nothing is changed."""
    centres, prior = torch.tensor([-1.0, 2.0]), torch.tensor([0.7, 0.3])

    def model(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Categorical(prior))
            z = pyro.sample("z", dist.Normal(centres[b], 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        scores = prior.log() + dist.Normal(centres, 1.25**0.5).log_prob(x[..., None])
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Categorical(logits=scores + logits * torch.tensor([0.0, 1.0])))
            mean = (centres[b] + 4 * x) / 5
            pyro.sample("z", dist.Normal(mean + shift * 0.2**0.5, narrow * 0.2**0.5))

    return model, guide


def test_places_under_the_posterior_are_uniform_with_and_without_ties():
    model, guide = number_beside_a_bit()
    found = places(model, guide, torch.zeros(20_000), 7)
    tested = list(found.quantities())
    assert [name for name, *_ in tested] == [
        "b",
        "z",
        "log p(x | z)",
        "log p(x, z)",
        "coverage, all latents",
        "coverage, b",
        "coverage, z",
    ]
    for name, _, _, values in tested:
        assert stats.kstest(values.numpy(), "uniform").pvalue > ALPHA, name
        cells = np.histogram(values.numpy(), 40, (0, 1))[0]
        assert stats.chisquare(cells).pvalue > ALPHA, name


def test_a_calibrated_guide_is_found_to_be_off_at_most_at_the_level():
    model, guide = number_beside_a_bit()
    found = [pv.calibrate(model, guide, torch.zeros(3), simulated=150, draws=9).status for _ in range(40)]
    assert found.count("miscalibrated") <= stats.binom.isf(ALPHA, 40, 0.05)


def rank_probabilities(draws, below):
    """Probabilities of each rank where a sample lies below the true value with these probabilities, equally likely."""
    return stats.binom.pmf(np.arange(draws + 1)[:, None], draws, below).mean(1)


def test_ranks_of_a_normal_are_those_of_the_formula():
    draws, shift, narrow = 9, 0.5, 0.8

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.8 * x + shift * 0.2**0.5, narrow * 0.2**0.5))

    values = places(model, guide, torch.zeros(20_000), draws).units["z"][:, 0]
    # In deviations of the posterior it is N(0, 1), and the guide N(shift, narrow^2).
    below = stats.norm.cdf((stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000) - shift) / narrow)
    expected = 20_000 * rank_probabilities(draws, below)
    observed = np.histogram(values.numpy(), draws + 1, (0, 1))[0]
    assert stats.chisquare(observed, expected * (20_000 / expected.sum())).pvalue > ALPHA


class Coins:
    """Bits that x says nothing of, with probabilities of their own under model and guide."""

    def __init__(self, model, guide):
        self.prior, self.proposal = torch.tensor(model), torch.tensor(guide)

    def model(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(self.prior).to_event(1))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(self.proposal).to_event(1))


def test_ranks_integrals_and_distances_of_bits_are_those_of_numpy():
    draws, count, rng = 4, 20_000, np.random.default_rng(0)
    prior, proposal = np.array([0.3, 0.8]), np.array([0.5, 0.6])
    pair = Coins(prior.tolist(), proposal.tolist())
    found = places(pair.model, pair.guide, torch.zeros(count), draws)

    true, reference = (rng.random((2, 10 * count, 2)) < prior).astype(int)
    samples = (rng.random((draws, 10 * count, 2)) < proposal).astype(int)

    def rank(value, others):
        below, ties = (others < value).sum(0), (others == value).sum(0)
        return below + rng.integers(0, ties + 1)

    def agree(values, ranks):
        observed = np.histogram(values.numpy(), draws + 1, (0, 1))[0]
        expected = np.bincount(ranks, minlength=draws + 1)
        assert stats.chi2_contingency([observed, expected]).pvalue > ALPHA

    for unit in range(2):
        agree(found.units["z"][:, unit], rank(true[:, unit], samples[:, :, unit]))
        corner = 1 - proposal[unit]
        share = (found.bits["z"][:, unit].numpy() <= corner).mean()
        zeros = 1 - prior[unit]
        assert abs(share - zeros) < stats.norm.isf(ALPHA / 4) * (zeros * (1 - zeros) / count) ** 0.5
        inside = found.bits["z"][:, unit].numpy()
        assert stats.kstest(inside[inside <= corner] / corner, "uniform").pvalue > ALPHA
        assert stats.kstest((inside[inside > corner] - corner) / (1 - corner), "uniform").pvalue > ALPHA
    distance = (true != reference).sum(-1)
    agree(found.distances["all latents"], rank(distance, (samples != reference).sum(-1)))


FAULTS = {
    "too narrow": {"narrow": 0.7},
    "too wide": {"narrow": 1.4},
    "shifted": {"shift": 0.4},
}


@pytest.mark.parametrize("finding", FAULTS)
def test_a_fault_of_a_number_is_found_and_named(finding):
    found = pv.calibrate(*number_beside_a_bit(**FAULTS[finding]), torch.zeros(20), simulated=600, draws=49)
    number = next(each for each in found.tested if each.name == "z")
    assert (found.status, number.finding) == ("miscalibrated", finding)
    assert f"z is {finding}" in found.verdict
    if finding == "shifted":
        assert number.shift == pytest.approx(-0.4, abs=0.2)
    else:
        assert number.width == pytest.approx(1 / FAULTS[finding]["narrow"], rel=0.15)


def test_a_state_that_is_too_likely_is_found():
    found = pv.calibrate(*number_beside_a_bit(logits=3.0), torch.zeros(20), simulated=600, draws=49)
    assert {"b", "coverage, b"} & {each.name for each in found.found}


def test_a_collapsed_bit_is_found_beside_two_good_ones():
    pair = Coins([0.3, 0.5, 0.5], [0.3, 0.999, 0.5])
    found = pv.calibrate(pair.model, pair.guide, torch.zeros(20), simulated=500, draws=19)
    assert {each.name for each in found.found if each.site == "z"} == {"z[1]"}
    assert "z is too narrow in 1 of 3 units" in found.verdict or "z is shifted in 1 of 3 units" in found.verdict


def test_a_guide_that_disregards_the_data_is_found_by_the_densities():
    pair = LinearGaussian(2)

    def prior(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    found = pv.calibrate(pair.model, prior, torch.zeros(20, 4), simulated=300, draws=19)
    assert {each.name for each in found.found} <= {"log p(x | z)", "log p(x, z)"}
    assert found.status == "miscalibrated"
    assert "only the densities give the guide away" in " ".join(found.warnings)


def test_what_is_said_of_a_posterior_is_no_proof():
    pair = LinearGaussian(2)
    found = pv.calibrate(pair.model, pair.posterior, torch.zeros(20, 4), simulated=300, draws=19)
    assert found.verdict.startswith("not found to be miscalibrated with 300 simulated data")
    assert "may go unnoticed" in str(found)
    content = json.loads(json.dumps(found.to_json()))
    assert content["status"] == "not found to be miscalibrated"
    assert content["data"] == 300
    assert {test["finding"] for test in content["tests"]} == {None}
    figure = Figure()
    found.draw(figure, "title")
    assert [axes.get_ylabel() for axes in figure.axes] == ["distribution function minus diagonal", "coverage"]


def test_documents_and_inputs_that_are_not_observed():
    found = pv.calibrate(*text_pair(scale=3.0), simulated=40, draws=9)
    assert [each.kind for each in found.tested].count("probability integral") == 3
    assert "40 simulated data show gross faults alone" in " ".join(found.warnings)

    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(y, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x + y) / 2, 0.5**0.5))

    x, y = torch.zeros(30), torch.linspace(-50, 50, 30)
    assert pv.calibrate(model, guide, x, y, simulated=300, draws=19).status == "not found to be miscalibrated"


def test_refusals():
    pair = LinearGaussian(1)
    with pytest.raises(ValueError, match="at least 2 simulated data and 1 draw of the guide for each, got 1 and 99"):
        pv.calibrate(pair.model, pair.guide, torch.zeros(3, 4), simulated=1)
    with pytest.raises(ValueError, match="no data whose shape"):
        pv.calibrate(pair.model, pair.guide, torch.zeros(0, 4))

    def shared(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="all data share the latent site 'w'"):
        pv.calibrate(shared, guide, torch.zeros(3))

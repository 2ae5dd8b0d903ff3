"""Observed values of a probability below 1.2e-7: the number is PyTorch's, and says by how much it would be lower."""

import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import binom, geom, nbinom, norm

import ppl_vae as pv
from ppl_vae.evidence.clamping import early_notes, note_raised
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.programs.clamped import unclamped, watching_clamps
from ppl_vae.runs.check.contract import check_model
from ppl_vae.runs.check.ledger import Ledger

LOGITS = np.array([-30.0, -25.0])
X = torch.tensor([0.0, 1.0, 1.0])


def model(x):
    """A bit that moves the probability of a one from 9e-14 to 1.4e-11."""
    with pyro.plate("data", len(x)):
        b = pyro.sample("b", dist.Bernoulli(logits=torch.zeros(1)).to_event(1))
        pyro.sample("x", dist.Bernoulli(probs=torch.sigmoid(torch.tensor(LOGITS[0]).float() + 5 * b[..., 0])), obs=x)


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("b", dist.Bernoulli(logits=torch.zeros(len(x), 1)).to_event(1))


@pytest.fixture(scope="module")
def excess():
    """Nats by which the evidence of a one is too high."""
    return -np.log(1.0 / 2**-23) - (logsumexp(LOGITS) - np.log(2))  # PyTorch's epsilon against the mean of both states


@pytest.mark.parametrize("method", ["enumeration", "importance"])
def test_the_evidence_says_how_much_of_it_is_rounding(method, excess):
    result = pv.measure(model, guide, X, method=method, draws=400)
    np.testing.assert_allclose(result.evidence.pointwise[1:], np.log(2**-23), atol=1e-4)
    (note,) = [line for line in result.evidence.warnings if "1.2e-7" in line]
    said = re.search(r"site 'x' is given as probs.*lower for 2 of 3 data, by up to (\S+) nats", note)
    assert said is not None and float(said[1]) == pytest.approx(excess, abs=0.01 if method == "enumeration" else 0.1)
    assert (
        note in result.to_json()["evidence"]["warnings"] and note in result.warnings and f"note: {note}" in str(result)
    )
    assert any("so does the ELBO" in line for line in result.elbo.warnings)


def test_so_do_gap_and_ladder(excess):
    gap = pv.split_gap(model, guide, X)
    ladder = pv.ladder(model, {"one": guide}, X)
    for result in (gap, ladder):
        assert any(f"by up to {excess:.3g} nats" in line for line in result.to_json()["warnings"])


def test_blocks_are_counted_together():
    raised = torch.tensor([0.0, 1.0, torch.inf])
    blocks = [Estimate(-X, "a", "exact", raised=raised), Estimate(-X[:2], "a", "exact")]
    (noted,) = note_raised({"evidence": Estimate.join(blocks)}, {}).values()
    assert "lower for 2 of 5 data, by up to 1 nats, 1 of which are then impossible" in noted.warnings[0]


def test_data_that_the_model_excludes_are_said_to_be_impossible():
    def certain(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Bernoulli(logits=torch.zeros(1)).to_event(1))
            pyro.sample("x", dist.Bernoulli(probs=0.0 * b[..., 0]), obs=x)

    assert "lower for 2 of 3 data, 2 of which are then impossible" in pv.measure(certain, guide, X).warnings[0]


def test_where_no_value_is_rounded_there_is_no_note():
    def mild(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Bernoulli(logits=torch.zeros(1)).to_event(1))
            # A one is all but impossible in one state, whose part of the evidence is nothing beside the other's.
            pyro.sample("x", dist.Bernoulli(probs=torch.sigmoid(-30 + 29 * b[..., 0])), obs=x)

    result = pv.measure(mild, guide, X)
    expected = logsumexp([[-30.0, -1.0]] - np.logaddexp(0, [[-30.0, -1.0]]), axis=1) - np.log(2)
    np.testing.assert_allclose(result.evidence.pointwise[1:], expected.repeat(2), atol=1e-5)
    assert not result.evidence.warnings


P = [0.0, 1e-9, 0.3]


@pytest.mark.parametrize(
    ("fn", "value", "exact"),
    [
        (dist.Binomial(4, probs=torch.tensor(P)), [1.0, 4.0, 2.0], binom.logpmf([1, 4, 2], 4, P)),
        (dist.Binomial(4, probs=torch.tensor([1.0, 0.3])), [3.0, 4.0], binom.logpmf([3, 4], 4, [1.0, 0.3])),
        (
            dist.Geometric(probs=torch.tensor([1e-9, 1.0, 0.3])),
            [2.0, 1.0, 2.0],
            geom.logpmf([3, 2, 3], [1e-9, 1.0, 0.3]),
        ),
        (
            dist.NegativeBinomial(torch.tensor(3.0), probs=torch.tensor(P)),
            [2.0, 2.0, 2.0],
            nbinom.logpmf(2, 3, 1 - np.array(P)),
        ),
        (dist.Categorical(probs=torch.tensor([0.5, 0.5, 1e-9])), [2.0, 0.0], np.log([1e-9, 0.5])),
        (
            dist.MixtureSameFamily(
                dist.Categorical(probs=torch.tensor([1.0, 1e-12])),
                dist.Normal(torch.tensor([0.0, 10.0]), 1.0),
            ),
            [10.0, 0.5],
            logsumexp(norm.logpdf([[10.0], [0.5]], [0.0, 10.0], 1) + np.log([1, 1e-12]), axis=1),
        ),
    ],
)
def test_log_densities_of_data_without_rounding(fn, value, exact):
    site = {"name": "x", "is_observed": True, "value": torch.tensor(value), "fn": fn, "mask": None}
    with watching_clamps() as found:
        rounded = unclamped(site, fn.log_prob(site["value"]))
    np.testing.assert_array_equal(rounded, fn.log_prob(site["value"]))
    assert found.observed == {"x"} and not found.sites
    with watching_clamps(strict="observed"):
        np.testing.assert_allclose(unclamped(site, fn.log_prob(site["value"])), exact, rtol=1e-5, atol=2e-5)


def test_values_that_a_mask_leaves_out_and_logits_are_not_rounded():
    value, mask = torch.tensor([[1.0, torch.nan, 1.0]]), torch.tensor([[True, False, True]])
    masked = dist.Bernoulli(probs=torch.tensor([0.4, 0.0, 0.4])).mask(mask).to_event(1)
    small = dist.Geometric(logits=torch.tensor([-25.0]))
    assert small.probs < 1e-9  # known besides
    for fn, given in (
        (masked, value),
        (small, value[0, :1]),
        (dist.Bernoulli(logits=-torch.ones(1) * 30), value[0, :1]),
    ):
        site = {"name": "x", "is_observed": True, "value": given, "fn": fn, "mask": None}
        with watching_clamps(strict="observed") as found:
            unclamped(site, torch.zeros(1))
        assert not found.observed


def test_what_is_known_before_a_training_is_said():
    def excluded(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(probs=torch.tensor([0.5, 0.5, 0.0])))
            pyro.sample("x", dist.Bernoulli(probs=0.2 + 0.1 * k), obs=x)

    assert "site 'k' gives some values a probability of 0" in early_notes(excluded, X)[0]
    assert not early_notes(model, X)
    ledger = Ledger()
    check_model(ledger, model, {"train": X})
    (row,) = [row for row in ledger.rows if row.check == "observed x"]
    assert row.status == "note" and "give logits" in row.remedy

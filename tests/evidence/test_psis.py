"""Pareto-smoothed importance sampling: k-hat and smoothed weights."""

import arviz as az
import numpy as np
import pytest
import torch

from ppl_vae.evidence.bracket import bracket_of
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.psis import k_hat, k_hat_limit, smoothed
from tests.support.small_pairs import LinearGaussian

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("draws", [40, 100, 1000])
def test_k_hat_is_that_of_arviz(draws):
    weights = torch.randn(draws, 50) * torch.linspace(0.1, 4, 50)
    _, theirs = az.psislw(weights.T.numpy())
    np.testing.assert_allclose(k_hat(weights).numpy(), theirs, atol=1e-10)


def test_k_hat_of_constant_and_of_few_weights():
    assert k_hat(torch.zeros(100, 2)).tolist() == [-torch.inf] * 2
    assert k_hat(torch.randn(10, 2)).isnan().all()
    assert k_hat_limit(10) == 0


@pytest.mark.parametrize("draws", [40, 1000])
def test_smoothed_weights_are_those_of_arviz(draws):
    weights = torch.randn(draws, 20) * torch.linspace(0.1, 4, 20)
    theirs, _ = az.psislw(weights.T.numpy())
    ours = smoothed(weights)
    np.testing.assert_allclose((ours - ours.logsumexp(0)).T.numpy(), np.sort(theirs, -1), atol=1e-9)


def test_smoothed_evidence_is_close_and_calls_itself_so():
    pair = LinearGaussian(2, noise=4.0)
    pair.weight *= 0
    x = pair.simulate(50)[1]
    found = measure(pair.model, pair.guide, x, method="psis", draws=1000)
    assert found.evidence.bound == "approximate"
    assert abs(found.evidence.mean - pair.evidence(x).mean()) < 6 * found.evidence.se
    assert found.table().count(" about ") == 2


def test_the_bracket_of_smoothed_weights_is_that_of_the_same_weights_unsmoothed():
    pair = LinearGaussian(1)
    x = pair.simulate(30)[1]
    found, brackets = {}, {}
    for method in ("importance", "psis"):
        torch.manual_seed(0)
        found[method] = measure(pair.model, pair.guide, x, method=method, draws=200, check=False)
        brackets[method] = found[method].bracket()
    assert found["psis"].evidence.mean != found["importance"].evidence.mean
    assert brackets["psis"].lower == brackets["importance"].lower
    assert brackets["psis"].upper == brackets["importance"].upper
    assert pair.evidence(x).mean().item() in brackets["psis"]
    again = Estimate.stored(found["psis"].evidence.to_json(), found["psis"].pointwise(), "evidence")
    assert bracket_of(again) == brackets["psis"]


def test_ties_of_few_states_are_not_smoothed():
    weights = torch.tensor([0.0, 1.0, 3.0])[torch.randint(3, (500, 4))]
    torch.testing.assert_close(smoothed(weights), weights.sort(0).values)

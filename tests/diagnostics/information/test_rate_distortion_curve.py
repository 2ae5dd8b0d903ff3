"""Rate-distortion curves of decoders against closed forms and sums over all codes."""

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from ppl_vae.diagnostics.information.rate_distortion_curve import curve_cells, rate_distortion_curve
from ppl_vae.evidence.measure import measure
from tests.support.small_pairs import BitsOfPoints, LinearGaussian
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

BETAS = (4.0, 1.0, 0.25)


def analytic(pair, x, beta):
    """Rate and distortion of the best encoder of a linear Gaussian model at a weight of the rate."""
    size = len(pair.map)
    precision = torch.eye(size) + pair.map @ pair.map.T / (beta * pair.noise**2)
    covariance = torch.linalg.inv(precision)
    mean = (x - pair.offset) @ pair.map.T / (beta * pair.noise**2) @ covariance
    rate = kl_divergence(MultivariateNormal(mean, covariance), MultivariateNormal(torch.zeros(size), torch.eye(size)))
    left = (x - pair.offset - mean @ pair.map).square().sum(1) + torch.trace(pair.map.T @ covariance @ pair.map)
    distortion = left / (2 * pair.noise**2) + x.shape[1] * torch.tensor(2 * torch.pi * pair.noise**2).log() / 2
    return rate, distortion


def test_the_curve_of_a_linear_gaussian_model_is_the_analytic_one():
    pair = LinearGaussian(2, 4)
    _, x = pair.simulate(30)
    curve = rate_distortion_curve(pair.model, pair.guide, x, betas=BETAS, chains=64, temperatures=50)
    for i, beta in enumerate(BETAS):
        rate, distortion = analytic(pair, x, beta)
        for found, expected in ((curve.rate[i], rate), (curve.distortion[i], distortion)):
            assert found.bound == "approximate"
            assert_mean(found.pointwise - expected, torch.zeros(()))
            assert 0.6 < ((found.pointwise - expected) / found.pointwise_se).square().mean().sqrt() < 1.6
        assert curve.cost[i].bound == "upper"
        assert_mean(curve.cost[i].pointwise - distortion - beta * rate, torch.zeros(()))
    assert_mean(curve.cost[1].pointwise + pair.evidence(x), torch.zeros(()))


def test_listed_codes_give_the_curve_exactly_and_annealing_finds_it():
    pair, x = BitsOfPoints(4), torch.randn(20, 3)
    exact = rate_distortion_curve(pair.model, pair.guide, x, betas=BETAS)
    measured = measure(pair.model, pair.guide, x)
    assert {e.bound for e in (*exact.rate, *exact.distortion, *exact.cost)} == {"exact"}
    torch.testing.assert_close(-exact.cost[1].pointwise, measured.evidence.pointwise)
    torch.testing.assert_close(exact.excess()[1].pointwise, measured.gap.pointwise)
    for i, beta in enumerate(BETAS):
        torch.testing.assert_close(
            exact.cost[i].pointwise, exact.distortion[i].pointwise + beta * exact.rate[i].pointwise
        )
        assert exact.excess()[i].pointwise.min() > 0
    rates = torch.stack([e.pointwise for e in exact.rate])
    assert (rates.diff(dim=0) > 0).all()
    walked = rate_distortion_curve(
        pair.model, pair.guide, x, betas=BETAS, method="annealing", chains=100, temperatures=50
    )
    for found, right in zip(walked.rate + walked.distortion, exact.rate + exact.distortion, strict=True):
        assert (found.pointwise - right.pointwise).abs().mean() < 5 * found.pointwise_se.mean() + 1e-3


def test_blocks_of_codes_and_of_data_change_nothing(monkeypatch):
    pair, x = BitsOfPoints(4), torch.randn(7, 3)
    whole = rate_distortion_curve(pair.model, pair.guide, x, betas=BETAS)
    monkeypatch.setattr("ppl_vae.diagnostics.information.rate_distortion_curve.BLOCK", 3)
    monkeypatch.setattr("ppl_vae.diagnostics.information.rate_distortion_curve.data_block", lambda x: 2)
    for name, value in rate_distortion_curve(pair.model, pair.guide, x, betas=BETAS).pointwise().items():
        torch.testing.assert_close(value, whole.pointwise()[name])


@pytest.mark.parametrize("method", ["enumeration", "annealing"])
def test_progress_counts_what_was_promised(method):
    pair, x, seen = BitsOfPoints(3), torch.randn(5, 3), []
    rate_distortion_curve(
        pair.model, pair.guide, x, betas=BETAS, method=method, chains=2, temperatures=7, progress=seen.append
    )
    assert sum(seen) == curve_cells(pair.model, x, betas=BETAS, method=method, chains=2, temperatures=7)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"betas": (1.0, -1.0)}, "weights of the rate are positive numbers"),
        ({"betas": ()}, "weights of the rate are positive numbers"),
        ({"method": "quadrature"}, "unknown method 'quadrature'; choose from auto, enumeration, annealing"),
        ({"method": "enumeration"}, "enumeration is not possible: site 'z' is .*; use the method 'annealing'"),
        ({"chains": 1}, "annealing needs at least 2 chains per datum"),
    ],
)
def test_mistakes_are_named(how, words):
    pair = LinearGaussian(2)
    with pytest.raises(ValueError, match=words):
        rate_distortion_curve(pair.model, pair.guide, torch.randn(3, 4), **how)

"""Leave-one-out weights: the formula by NumPy, and a bound in expectation."""

import numpy as np
import pytest
import torch

from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.leave_one_out import leave_one_out
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(estimates: np.ndarray) -> float:
    others = [np.delete(estimates, k).mean() for k in range(len(estimates))]
    return float(np.mean([np.log(c) + r / c - 1 for r, c in zip(estimates, others, strict=True)]))


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_the_formula_and_its_error(spread):
    logs = spread * np.random.default_rng(0).normal(size=(7, 3)) - 4000
    found = leave_one_out(torch.tensor(logs))
    estimates = np.exp(logs - logs.max(0))
    values = [by_hand(column) for column in estimates.T]
    np.testing.assert_allclose(found.pointwise.numpy() - logs.max(0), values, rtol=1e-6)
    for column, stated in zip(estimates.T, found.pointwise_se.tolist(), strict=True):
        step = 1e-6 * column.min()
        slopes = [
            (by_hand(column + step * (np.arange(7) == k)) - by_hand(column - step * (np.arange(7) == k))) / 2 / step
            for k in range(7)
        ]
        jackknife = 7 / 6 * np.square(np.array(slopes) * (column - column.mean())).sum()
        terms = [column[k] / np.delete(column, k).mean() for k in range(7)]
        assert stated == pytest.approx(np.sqrt(jackknife + (2 * (max(terms) - 1) / 7) ** 2), rel=1e-3)


def test_it_lies_above_the_truth_in_expectation_as_far_as_the_mean_weight_lies_below():
    torch.manual_seed(0)
    weights = 0.7 * torch.randn(100, 4000) - 0.7**2 / 2  # of mean one
    found = leave_one_out(weights)
    assert found.draws == 50 and found.bound == "upper"
    variance = np.exp(0.7**2) - 1
    below = (weights.logsumexp(0) - np.log(100)).mean().item()
    assert below == pytest.approx(-variance / 200, abs=6 * (variance / 100 / 4000) ** 0.5)
    assert_mean((found.pointwise - (weights.exp().mean(0) - 1))[:, None], torch.tensor([variance / 200 * (50 / 49)]))


def test_a_single_sample_that_is_not_zero_has_no_bound():
    weights = torch.full((10, 2), -torch.inf)
    weights[3] = 0
    weights[4, 1] = -1
    found = leave_one_out(weights)
    assert found.pointwise.isinf().tolist() == [True, False]
    assert leave_one_out(weights[:1]) is None


def test_blocks_join_and_an_exact_block_is_its_own_upper_bound():
    weights = torch.randn(20, 5)
    parts = [Estimate(weights.logsumexp(0), "a", "lower", 20, upper=leave_one_out(weights)) for _ in range(2)]
    exact = Estimate(torch.zeros(3), "sum", "exact")
    joined = Estimate.join([*parts, exact])
    assert joined.upper.draws == 20
    assert joined.upper.pointwise.tolist() == [*(parts[0].upper.pointwise.tolist() * 2), 0, 0, 0]
    assert Estimate.join([parts[0], Estimate(torch.zeros(3), "mine", "lower")]).upper is None

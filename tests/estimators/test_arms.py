"""ARMS: many draws that exclude each other."""

import pytest
import torch

from ppl_vae.estimators import Code, estimate
from ppl_vae.estimators.arms import ARMS
from ppl_vae.estimators.disarm import DisARM
from tests.support.estimator_checks import Given, curved
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def test_two_draws_of_arms_are_disarm():
    """Given the same pair of codes, which either draws with the same probabilities."""
    logits, pair = torch.tensor([[1.5, 0.0, -0.4]]), torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])[:, None]
    drawn = ARMS().draw(logits, 4000)
    f = Given(values=torch.tensor([[5.0], [3.0]]))
    many = ARMS().draw(logits.expand(4000, 3), 2)
    assert (many.bits.sum(0)[:, 0] >= 1).all()
    assert many.bits.sum(0)[:, 1].eq(1).all()
    assert_mean(many.bits[0], logits[0].sigmoid())
    assert_mean(drawn.bits, logits.sigmoid())
    of_two = ARMS().gradient(Code(pair, many.noise[:, :1], logits), f)
    torch.testing.assert_close(of_two, DisARM().gradient(Code(pair, pair, logits), f))


@pytest.mark.parametrize("draws", [2, 3, 10])
def test_correlation_of_draws_that_exclude_each_other(draws):
    logits = torch.tensor([[2.0, 0.3, -1.0, -4.0]])
    code = ARMS().draw(logits.expand(20_000, 4), draws)
    mean = logits[0].sigmoid()
    covariance = (code.bits[0] - mean) * (code.bits[1] - mean)
    assert_mean(covariance, (1 - 1 / code.noise[0, 0]) * mean * (1 - mean))
    assert (code.noise < 1).all()  # correlations are negative


def test_bits_that_are_all_but_certain():
    torch.set_default_dtype(torch.float32)
    logits = torch.tensor([[200.0, -200.0, 0.0]])
    result = estimate(ARMS(), curved(3), logits, 4)
    assert result.isfinite().all()
    assert (result[0, :2] == 0).all()

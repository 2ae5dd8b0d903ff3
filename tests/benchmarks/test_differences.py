"""The intervals that the benchmark counts hold as often as they say, in few replications."""

import pytest
from scipy.stats import binom

from benchmarks.coverage.differences import MODELS, curves, evidences, informations, precisions

RUNS = 60


def assert_hold(rates):
    """Whether each rate may be 95% or more, but for one in 10,000."""
    rates = list(rates)
    assert rates
    for rate in rates:
        assert rate.count >= binom.ppf(1e-4, rate.runs, 0.95), rate


@pytest.mark.parametrize("kind", MODELS)
def test_means_of_populations_and_differences(kind):
    assert_hold(evidences(kind, 20, RUNS, 20))


def test_the_curve():
    assert_hold(curves(MODELS[0], 4, 10, RUNS, 5))


def test_information_and_precision():
    assert_hold([*informations(RUNS, 60), precisions(RUNS, 50)])

"""The intervals that the benchmark counts hold as often as they say, in few replications."""

from scipy.stats import binom

from benchmarks.coverage import differences
from benchmarks.coverage.differences import LinearGaussian, PoissonFactor, curves, evidences, informations, precisions

RUNS = 40


def assert_hold(rates):
    """Whether each rate may be 95% or more, but for one in 10,000."""
    rates = list(rates)
    assert rates
    for rate in rates:
        assert rate.count >= binom.ppf(1e-4, rate.runs, 0.95), rate


def test_means_of_populations_and_differences(monkeypatch):
    monkeypatch.setattr(differences, "POOL", 3_000)
    assert_hold(evidences(PoissonFactor, 20, RUNS, 15))


def test_the_curve():
    assert_hold(curves(LinearGaussian, 4, 6, RUNS, 3))


def test_information_and_precision():
    assert_hold([*informations(20, 40), precisions(RUNS, 50)])

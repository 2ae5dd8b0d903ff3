"""Intervals of means: against root finding in SciPy, and how often they cover, in plain NumPy."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import binom, skew, t

from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.intervals import Interval, ends, minus, of_population, of_these_data, over_data, split_se
from ppl_vae.evidence.results import Evidence

pytestmark = pytest.mark.usefixtures("float64")

RUNS = 400


def assert_share(hits, level=0.95):
    """Whether the number of hits may be that of an event of this probability or a higher one, but for one in 10,000."""
    assert sum(hits) >= binom.ppf(1e-4, len(hits), level), f"{sum(hits)} of {len(hits)}"


def hall(values, quantile):
    """The mean at which Hall's transformed statistic is a quantile, by root finding."""
    n, mean, s = len(values), values.mean(), values.std(ddof=1)
    g = ((values - mean) ** 3).sum() / s**3 * n / ((n - 1) * (n - 2))

    def statistic(mu):
        w = (mean - mu) / s
        return math.sqrt(n) * (w + g * w**2 / 3 + g**2 * w**3 / 27 + g / (6 * n)) - quantile

    return brentq(statistic, mean - 50 * s, mean + 50 * s, xtol=1e-14)


@pytest.mark.parametrize("values", [[0.1, 0.5, 0.2, 3.0, 0.4], [-1.0, 1.0, -2.0, 2.0, 0.0], [5.0, 5.1, 0.0]])
def test_the_knownare_where_halls_statistic_is_a_quantile_of_students_t(values):
    x = np.array(values)
    low, high = over_data(torch.tensor(values))
    quantile = t.ppf(0.975, len(x) - 1)
    assert x.mean() + low == pytest.approx(hall(x, quantile), abs=1e-9)
    assert x.mean() + high == pytest.approx(hall(x, -quantile), abs=1e-9)


@pytest.mark.parametrize("count", [8, 40])
def test_means_of_skewed_values_are_covered_where_students_t_covers_less(count):
    """Of minus chi-square values, as log p(x) of a Gaussian model has, whose mean is -1."""
    rng = np.random.default_rng(0)
    samples = -rng.chisquare(1, size=(RUNS, count))
    margins = [over_data(torch.as_tensor(row)) for row in samples]
    hits = [low <= -1 - row.mean() <= high for row, (low, high) in zip(samples, margins, strict=True)]
    error = t.ppf(0.975, count - 1) * samples.std(1, ddof=1) / np.sqrt(count)
    assert_share(hits, 0.935)
    assert np.mean(hits) > np.mean(np.abs(samples.mean(1) + 1) <= error)


def test_a_sample_of_most_of_a_split_says_nearly_what_the_split_does():
    """Where 80 of 100 data are seen, with noise, the error is that of the other 20 and of the noise."""
    rng = np.random.default_rng(0)
    hits, wrong, noise = [], [], 0.5
    for _ in range(RUNS):
        split = rng.exponential(size=100)
        rows = rng.permutation(100)[:80]
        seen = Estimate(
            torch.as_tensor(split[rows] + noise * rng.normal(size=80)),
            "made",
            "unbiased",
            100,
            torch.full((80,), noise),
        )
        hits.append(split.mean() in of_population(ends(seen), of=100))
        wrong.append(split.mean() in of_these_data(ends(seen)))
    assert_share(hits)
    assert np.mean(hits) < 0.99
    assert np.mean(wrong) < 0.9  # the noise alone is not enough
    whole = np.var(seen.pointwise.numpy(), ddof=1)
    expected = math.sqrt((0.2 * whole + 0.8 * noise**2) / 80)
    assert split_se(seen.pointwise, seen.pointwise_se, 100) == pytest.approx(expected)
    assert split_se(seen.pointwise, seen.pointwise_se, 80) == pytest.approx(noise / 80**0.5)


@pytest.mark.parametrize(("draws", "data"), [(3, 1), (4, 3)])
def test_few_draws_widen_the_interval_as_students_t_does(draws, data):
    rng = np.random.default_rng(1)
    hits, wide = [], []
    for _ in range(RUNS):
        values = rng.normal(size=(draws, data))
        errors = torch.as_tensor(values.std(0, ddof=1) / draws**0.5)
        found = of_these_data(ends(Estimate(torch.as_tensor(values.mean(0)), "made", "unbiased", draws, errors)))
        hits.append(0.0 in found)
        wide.append(found.high - found.low)
    assert_share(hits)
    if data == 1:
        assert wide[-1] == pytest.approx(2 * t.ppf(0.975, draws - 1) * errors.item())


@pytest.mark.parametrize(
    ("bound", "low", "high"),
    [("exact", True, True), ("unbiased", True, True), ("lower", True, False), ("upper", False, True),
     ("approximate", False, False), ("between", False, False)],
)  # fmt: skip
def test_a_bound_has_the_end_that_it_bounds(bound, low, high):
    estimate = Estimate(torch.arange(5.0), "made", bound, 10, torch.ones(5))
    for interval in (of_these_data(ends(estimate)), of_population(ends(estimate))):
        assert (interval.low is not None, interval.high is not None) == (low, high)
        assert interval.low is None or interval.low < 2
        assert interval.high is None or interval.high > 2


def test_knownof_a_difference_are_opposite_ends():
    data = {"lower": 1.0, "upper": 4.0}
    low, high = (Estimate(torch.full((3,), value), "made", name) for name, value in data.items())
    assert [end.mean for end in minus((low, high), (low, high))] == [-3, 3]
    assert minus((low, None), (low, high))[1] is None
    assert minus((low, None), (low, None)) == (None, None)
    exact = Estimate(torch.zeros(3), "made", "exact")
    below, above = minus(ends(exact), (low, None))
    assert (below, above.mean) == (None, -1)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ((1.0, 2.0), "1.000 to 2.000"),
        ((1.0, None), ">= 1.000"),
        ((None, -0.0), "<= 0.000"),
        ((None, None), "not known"),
    ],
)
def test_intervals_in_words(known, words):
    assert str(Interval(*known)) == words


def test_a_single_datum_says_nothing_of_others():
    estimate = Estimate(torch.ones(1), "made", "exact")
    assert of_population(ends(estimate)).to_json() == [None, None]
    assert of_these_data(ends(estimate)).to_json() == [1, 1]


def test_table_and_json_of_a_sample_have_both_errors():
    rng = np.random.default_rng(0)
    values, noise = torch.as_tensor(-rng.gamma(2.0, 60.0, size=50)), torch.full((50,), 0.2)
    elbo = Estimate(values - 2, "30 draws", "unbiased", 30, noise)
    measured = Evidence(
        elbo, Estimate(values, "importance", "lower", 30, noise), Estimate(values - values + 2, "", "lower")
    )
    part = measured.of_sample(torch.arange(0, 100, 2), 100)
    content = json.loads(json.dumps(part.to_json(), allow_nan=False))
    sampling = math.sqrt(0.5 * values.numpy().var(ddof=1) / 50 + 0.5 * 0.2**2 / 50)
    assert content["elbo"]["se"] == pytest.approx(0.2 / 50**0.5)
    assert content["elbo"]["split_se"] == pytest.approx(sampling)
    assert (content["data"], content["split_size"]) == (50, 100)
    low, high = content["elbo"]["split_95"]
    mean = content["elbo"]["mean"]
    assert low < mean - sampling < mean + sampling < high
    assert mean - low > high - mean  # as the values are skewed
    assert abs(skew(values.numpy())) > 0.5
    assert content["evidence"]["split_95"][1] is None
    assert f"+- 0.028 ({sampling:.2g})" in str(part)
    assert "in parentheses: standard error as the mean of all 100 data, of which these 50 are a sample" in " ".join(
        str(part).split()
    )
    assert "split_se" not in measured.to_json()["elbo"] and "parentheses" not in str(measured)

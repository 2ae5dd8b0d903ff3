"""The test of uniformity against exact enumeration in NumPy and SciPy."""

import numpy as np
import pytest
from scipy import stats

from ppl_vae.diagnostics.calibration.uniformity import POINTS, Uniformity
from tests.support.z_test import FLAKES, TESTS

CELLS = 100


def test_p_values_are_those_of_all_ways_to_place_two_numbers():
    z = np.arange(1, CELLS)[:, None] / CELLS
    tails = 2 * np.minimum(stats.binom.cdf(range(3), 2, z), stats.binom.sf(np.arange(3) - 1, 2, z))
    below = np.arange(CELLS)[:, None] < np.arange(1, CELLS)  # (cell, point)
    counts = below[:, None].astype(int) + below[None]
    gamma = np.take_along_axis(tails.T[:, None, None], counts[None], 0)[0].min(-1)
    test = Uniformity(2)
    for cells in ((0, 1), (0, 99), (50, 51), (97, 98), (20, 70)):
        exact = (gamma <= gamma[cells] * (1 + 1e-9)).mean()
        assert test.p_value((np.array(cells) + 0.5) / CELLS) == pytest.approx(exact, abs=1e-9)


def test_the_level_holds_and_the_band_is_that_of_the_test():
    test, rng, count = Uniformity(60), np.random.default_rng(0), 600
    lowest, highest = test.band(0.1)
    rejected = 0
    for values in rng.random((count, 60)):
        shares = (values[:, None] <= POINTS).mean(0)
        rejects = test.p_value(values) <= 0.1
        rejected += rejects
        assert bool(((shares < lowest) | (shares > highest)).any()) == rejects
    low, high = stats.binom.ppf([FLAKES / TESTS / 2, 1 - FLAKES / TESTS / 2], count, 0.1)
    assert low * 0.5 < rejected <= high


def test_tiny_p_values_are_bounded_from_above():
    test = Uniformity(1000)
    assert 0 < test.p_value(np.linspace(0, 0.7, 1000)) < 1e-12
    assert test.p_value(np.full(1000, 0.5)) < 1e-12

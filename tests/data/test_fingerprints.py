"""Numbers by which data are known again."""

import numpy as np
import torch

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.fingerprints import fingerprints
from ppl_vae.data.inputs import Inputs


def test_equal_data_have_equal_numbers_and_others_have_others():
    grid = torch.cartesian_prod(*[torch.arange(4.0)] * 6).reshape(-1, 2, 3)
    found = fingerprints(grid)
    assert len(np.unique(found)) == len(grid) == 4**6
    order = torch.randperm(len(grid))
    np.testing.assert_array_equal(fingerprints(grid[order]), found[order])
    np.testing.assert_array_equal(fingerprints(-grid * 0 + grid), found)  # 0 and -0
    np.testing.assert_array_equal(fingerprints(grid.double()), found)


def test_documents_are_known_by_their_counts():
    dense = torch.cartesian_prod(*[torch.arange(3)] * 5)[1:]
    found = fingerprints(PackedCounts.from_dense(dense))
    assert len(np.unique(found)) == len(dense)
    np.testing.assert_array_equal(fingerprints(PackedCounts.from_dense(dense.flip(0))), found[::-1])


def test_all_fields_of_a_datum_count_each_in_its_place():
    x, y = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0)).T
    found = fingerprints(Inputs(x, label=y, scale=2.0))
    assert len(np.unique(found)) == 25


def test_the_order_in_which_fields_are_given_does_not_count():
    x, y = torch.arange(3.0), torch.arange(3.0, 6.0)
    found = fingerprints(Inputs(x, y), ["x", "y"])
    np.testing.assert_array_equal(fingerprints(Inputs(y=y, x=x), ["x", "y"]), found)
    assert not np.isin(fingerprints(Inputs(x=y, y=x)), found).any()


def test_integers_that_are_no_float64_are_told_apart():
    large = 2**60 + torch.arange(-200, 200)
    assert len(np.unique(fingerprints(large))) == 400

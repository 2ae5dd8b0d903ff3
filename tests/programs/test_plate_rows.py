"""Plates over part of a data set that are given their rows."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.evidence.measure import measure
from tests.programs.test_densities import SIGMA, WEIGHT, data, truth


@pytest.fixture(autouse=True)
def in_float64(float64):
    pass


@pytest.mark.parametrize("method", ["closed_form", "importance"])
def test_rows_that_a_program_gives_its_plate_are_kept(method):
    x, offsets = data(), torch.arange(300.0).double()
    rows = torch.randperm(300, generator=torch.Generator().manual_seed(0))[: len(x)]

    def model(x, rows):
        with pyro.plate("data", 300, subsample=rows) as taken:
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            loc = z @ WEIGHT.double() + offsets[taken, None]
            pyro.sample("x", dist.Normal(loc, SIGMA).to_event(1), obs=x + offsets[rows, None])

    def guide(x, rows):
        with pyro.plate("data", 300, subsample=rows):
            pyro.sample("z", dist.Normal(x @ WEIGHT.double().T / 2, 0.7).to_event(1))

    result = measure(model, guide, x, rows, method=method, draws=4000 if method == "importance" else None)
    error = 5 * result.evidence.pointwise_se.numpy() if method == "importance" else 1e-6
    assert (np.abs(result.evidence.pointwise.numpy() - truth(x)) < error).all()

"""Plates over part of a data set that are given their rows."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import norm

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


@pytest.mark.parametrize("beside", [{}, {"subsample_size": 12}], ids=["rows", "rows and their number"])
def test_rows_given_beside_their_number_are_the_rows_of_what_the_program_indexes(beside):
    offsets = np.linspace(-3, 3, 40)
    rows = np.random.default_rng(0).permutation(40)[:12]
    x = np.random.default_rng(1).normal(size=12)

    def plate(rows):
        return pyro.plate("data", 40, subsample=rows, **({"subsample_size": len(rows)} if beside else {}))

    def model(x, rows):
        with plate(rows) as taken:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + torch.tensor(offsets)[taken], 1.0), obs=x)

    def guide(x, rows):
        with plate(rows):
            pyro.sample("z", dist.Normal(x, 1.0))

    result = measure(model, guide, torch.tensor(x), torch.tensor(rows))
    assert result.evidence.bound == "exact"
    np.testing.assert_allclose(result.evidence.pointwise, norm.logpdf(x, offsets[rows], 2**0.5), rtol=1e-6)


@pytest.mark.parametrize(
    "taken",
    [lambda x, rows: x[rows], lambda x, rows: x.index_select(0, rows), lambda x, rows: pyro.subsample(x, event_dim=0)],
)
def test_a_program_that_takes_its_batch_itself_is_told_how_it_is_given_one(taken):
    x = torch.zeros(40)

    def program(observes):
        def run(x):
            with pyro.plate("everyone", 40, subsample_size=5) as rows:
                pyro.sample("z", dist.Normal(0.0, 1.0))
                if observes:
                    pyro.sample("x", dist.Normal(0.0, 1.0), obs=taken(x, rows))

        return run

    with pytest.raises(
        ValueError, match="plate 'everyone' takes 5 of 40 rows, but a program is given the rows of a batch"
    ):
        measure(program(True), program(False), x)

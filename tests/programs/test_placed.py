"""Guides with a parameter for each datum: measured on all data together, refused where the data are split."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.distributions.coupled_normal import CoupledNormal
from ppl_vae.programs.invariance import check_places

pytestmark = pytest.mark.usefixtures("float64")


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def pair(count):
    loc = torch.linspace(-1, 1, count)

    def guide(x):
        with pyro.plate("data", len(x)) as rows:
            pyro.sample("z", dist.Normal(loc[rows], 0.5))

    return guide, loc.numpy(), torch.linspace(2, -2, count).sin()


def elbo(x, loc):
    """Of q(z) = N(loc, 1 / 4): the likelihood loses 1/4 / (2 / 4), and the divergence is that of normals."""
    likelihood = -0.5 * ((x - loc) ** 2 + 0.25) / 0.25 - np.log(0.5) - 0.5 * np.log(2 * np.pi)
    return likelihood - 0.5 * (loc**2 + 0.25 - 1 - np.log(0.25))


def test_all_data_together_are_measured():
    guide, loc, x = pair(300)
    np.testing.assert_allclose(pv.measure(model, guide, x).elbo.pointwise, elbo(x.numpy(), loc), atol=1e-9)


@pytest.mark.parametrize(("count", "method"), [(1100, "auto"), (300, "importance")])
def test_blocks_that_would_have_the_parameters_of_others_are_refused(count, method):
    guide, _, x = pair(count)
    with pytest.raises(
        ValueError, match=f"latent site 'z' under the guide changes with the place .* these {count} data"
    ):
        pv.measure(model, guide, x, method=method)


def test_a_training_on_batches_refuses_it():
    guide, _, x = pair(20)
    with pytest.raises(ValueError, match="latent site 'z' under the guide changes with the place .* trains on batches"):
        check_places(guide, x)


def test_rows_of_other_data_are_named():
    x = torch.linspace(-1, 1, 20)

    def guide(x):
        loc = pyro.param("loc", torch.zeros(20))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 0.5))

    with pytest.raises(ValueError, match="Shape mismatch") as error:
        pv.measure(model, guide, x)
    assert "parameter 'loc' has a row for each datum of another batch" in "".join(error.value.__notes__)


@pytest.mark.parametrize("placed", [False, True])
def test_rounding_of_a_narrow_density_far_from_zero_is_no_place(placed):
    def guide(x):
        with pyro.plate("data", len(x)):
            loc = 1e3 * (torch.arange(len(x)) if placed else x)[:, None].float()
            pyro.sample("z", CoupledNormal(loc, scale_tril=1e-6 * torch.eye(1, dtype=torch.float32)))

    x = torch.linspace(1, 2, 9, dtype=torch.float32)
    if placed:
        with pytest.raises(ValueError, match="changes with the place of a datum"):
            check_places(guide, x)
    else:
        check_places(guide, x)

"""Gaussian decoders write the data in units of their spread, where that is far from one."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from ppl_vae.programs.building import build_model
from ppl_vae.programs.loading import find
from ppl_vae.programs.log_weight import log_joint

RNG = np.random.default_rng(0)
TABLE = (RNG.normal(size=(60, 1)) @ RNG.normal(size=(1, 3)) + 0.3 * RNG.normal(size=(60, 3))) * [30, 2000, 0.01] + 500
IMAGES = RNG.integers(0, 256, size=(40, 4, 4)).astype(float)


def built(name, x, **options):
    torch.manual_seed(0)
    return build_model(find("models", name), options, torch.tensor(x, dtype=torch.float32), torch.device("cpu"))


def test_the_closed_forms_of_ppca_are_those_of_the_model_in_units():
    model = built("ppca", TABLE, latents=2)
    np.testing.assert_allclose(model.data_mean, TABLE.mean(0), rtol=1e-5)
    weight, bias = model.linear.weight.detach().double().numpy(), model.linear.bias.detach().double().numpy()
    spread, mean, sigma = (
        np.asarray(v, dtype=float) for v in (model.data_spread, model.data_mean, model.noise().item())
    )
    w = spread[:, None] * weight
    truth = multivariate_normal(mean + spread * bias, w @ w.T + sigma**2 * np.eye(3))
    x = torch.tensor(TABLE, dtype=torch.float32)
    np.testing.assert_allclose(model.marginal().log_prob(x).detach(), truth.logpdf(TABLE), rtol=1e-4)
    np.testing.assert_allclose(sigma, np.sqrt((spread**2).mean()), rtol=1e-5)


@pytest.mark.parametrize(("name", "x"), [("ppca", TABLE), ("manifold", TABLE), ("image", IMAGES)])
def test_a_model_begins_at_the_same_bound_whatever_the_unit_of_the_data(name, x):
    """Densities of data times 100 are lower by log 100 per number."""
    z = torch.randn(1, len(x), 2)
    one, hundred = (
        log_joint(built(name, scale * x, latents=2), torch.tensor(scale * x, dtype=torch.float32), {"z": z})
        for scale in (1, 100)
    )
    np.testing.assert_allclose(
        (one - hundred).detach(), np.full((1, len(x)), x[0].size * np.log(100)), rtol=1e-4, atol=1e-2
    )


def test_numbers_near_one_are_written_as_they_are():
    assert "data_mean" not in built("ppca", TABLE[:, :1] / 100).state_dict()
    assert "data_mean" in built("ppca", TABLE[:, :1]).state_dict()
    assert "data_mean" not in built("image", IMAGES / 255).state_dict()

"""The Gaussian VAE with residual networks, and the curve it learns."""

import numpy as np
import pytest
import torch
from ppl_vae.guides.residual import Residual
from ppl_vae.models.manifold import Manifold

from ppl_vae.data.readers import manifold
from ppl_vae.data.readers.manifold import curve_log_density, curve_points
from ppl_vae.evidence.measure import measure
from ppl_vae.nn.dense import DenseResidualBlock
from ppl_vae.programs.log_weight import log_weight
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def rough(monkeypatch):
    """The same curve with ten times the noise, which a coarse grid resolves; the grid and the size of its cells."""
    monkeypatch.setattr(manifold, "CURVE_NOISE", tuple(10 * scale for scale in manifold.CURVE_NOISE))
    step = 0.05
    axes = (np.arange(-5.5, 5.5, step) + step / 2, np.arange(-4.2, 4.2, step) + step / 2)
    return np.stack(np.meshgrid(*axes), -1).reshape(-1, 2), step**2


def test_the_law_of_the_points_is_a_density(rough):
    """Over a grid that holds all but nothing of the points, it sums to one."""
    grid, cell = rough
    assert np.exp(curve_log_density(grid, 600)).sum() * cell == pytest.approx(1, abs=1e-4)


def test_the_points_have_that_law(rough):
    """Means of functions of the points are those under the density."""
    grid, cell = rough
    weight = np.exp(curve_log_density(grid, 600)) * cell
    points, third = curve_points(20_000, seed=3)

    def functions(x):
        return np.stack([x[:, 0], x[:, 1], x[:, 0] * x[:, 1], x[:, 1] ** 2, np.sin(5 * x[:, 0])], -1)

    truth = weight @ functions(grid) / weight.sum()
    assert_mean(torch.from_numpy(functions(points)), torch.from_numpy(truth))
    assert set(third) == {0, 1, 2}


def test_more_nodes_change_nothing():
    x = curve_points(300, seed=1)[0]
    np.testing.assert_allclose(curve_log_density(x), curve_log_density(x, 24_000), atol=2e-3)


def test_a_block_adds_to_what_it_is_given():
    block, h = DenseResidualBlock(3), torch.randn(5, 3)
    inside = block.out(block.hidden(torch.zeros(2, 3)).relu())
    assert torch.allclose(block(-torch.ones(2, 3)) + 1, inside)
    torch.nn.init.zeros_(block.out.weight)
    torch.nn.init.zeros_(block.out.bias)
    assert torch.equal(block(h), h)


@pytest.mark.parametrize("sigma", ["0.3", "learned", "vector"])
def test_pair(sigma):
    x = torch.from_numpy(curve_points(4, seed=0)[0])
    model = Manifold(sigma=sigma, blocks=1, width=8)
    guide = Residual(model, x, blocks=1, width=8)
    assert log_weight(model, guide, x, 3).shape == (3, 4)
    assert measure(model, guide, x, method="quadrature").evidence.bound == "exact"
    # One datum's evidence does not depend on the others.
    alone = measure(model, guide, x[:1], method="quadrature").evidence.pointwise
    assert torch.allclose(alone, measure(model, guide, x, method="quadrature").evidence.pointwise[:1])


def test_what_it_cannot_be_is_refused():
    with pytest.raises(ValueError, match="blocks must be at least 0, got -1"):
        Manifold(blocks=-1)
    with pytest.raises(ValueError, match="closed forms for the linear decoder"):
        Manifold().posterior(torch.zeros(1, 2))

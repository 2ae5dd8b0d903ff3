"""Numbers in units of their spread, documents shrunk, and guides that begin at the prior."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.convolutional import Convolutional
from ppl_vae.guides.flow import Flow
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.low_rank import LowRank
from ppl_vae.guides.mean_field import MeanField

from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions.scales import bounded_log_scale
from ppl_vae.nn.dense import CountsLinear
from ppl_vae.nn.numbers import Numbers
from ppl_vae.nn.spread import location_and_spread
from ppl_vae.programs.handlers import run

pytestmark = pytest.mark.usefixtures("float64")


def test_numbers_are_standardised_but_rare_and_constant_ones_stay_small():
    rng = np.random.default_rng(0)
    table = rng.normal([1e4, -2e-3, 0, 7, 0], [1e4, 1e-3, 1, 0, 0], (500, 5))
    table[17, 4] = 1  # one in 500: its standard deviation is 0.045
    location, spread = location_and_spread(torch.tensor(table))
    np.testing.assert_allclose(location, table.mean(0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(spread[:3], table.std(0)[:3], rtol=1e-12)
    assert spread[4].item() == 1 / 8
    assert spread[3] == spread[[0, 1, 2, 4]].median()


def test_pixels_share_one_spread():
    images = torch.rand(30, 4, 4)
    images[:, 0] = 255 + 1e-3 * torch.rand(30, 4)  # a margin of noise
    _, spread = location_and_spread(images)
    flat = images.reshape(30, -1).numpy()
    np.testing.assert_allclose(spread, np.full(16, np.sqrt(flat.var(0).mean())), rtol=1e-12)


def test_flat_pixels_of_nothing_but_noise_stay_small_and_narrow_columns_of_a_table_do_not():
    rng = np.random.default_rng(0)
    flat = np.column_stack([255 * rng.integers(0, 2, (100, 12)), 255 * rng.random((100, 4))]) + rng.random((100, 16))
    flat[:, :3] = rng.random((100, 3))
    own = np.maximum(flat.std(0), np.ptp(flat, axis=0) / 8)
    _, spread = location_and_spread(torch.tensor(flat))
    np.testing.assert_allclose(spread[:3], np.full(3, np.sqrt((own**2).mean()) / 10), rtol=1e-12)
    np.testing.assert_allclose(spread[3:], own[3:], rtol=1e-12)
    for table in (flat * np.logspace(-3, 4, 16), flat[:, :15]):
        expected = np.maximum(table.std(0), np.ptp(table, axis=0) / 8)
        np.testing.assert_allclose(location_and_spread(torch.tensor(table))[1], expected, rtol=1e-12)


def test_missing_numbers_are_read_as_the_mean_with_an_indicator():
    x = torch.randn(20, 2) * 100 + 5000
    x[3, 1] = torch.nan
    read, known = Numbers(x)(x, torch.float64), x[[*range(3), *range(4, 20)], 1]
    assert read.isfinite().all()
    assert read[3].tolist() == [read[3, 0].item(), 0, 0, 1]
    torch.testing.assert_close(read[4, 1], (x[4, 1] - known.mean()) / location_and_spread(x)[1][1])


def test_a_few_data_are_read_as_they_are():
    x = 100 + torch.randn(15, 3)
    layer = CountsLinear(x, 2)
    torch.testing.assert_close(layer(x), x @ layer.weight + layer.bias)


def test_long_documents_do_not_bring_a_shrunk_map_out_of_bounds():
    counts = np.array([[1, 2, 0], [0, 3, 3]])
    layer = CountsLinear(PackedCounts.from_dense(counts), 4, "shrunk")
    many = np.array([[1, 0, 2], [10**6, 0, 2 * 10**6]])
    by_hand = 100 * many / (many.sum(1, keepdims=True) + 4.5) @ layer.weight.detach().numpy()
    found = layer(PackedCounts.from_dense(many)).detach().numpy()
    np.testing.assert_allclose(found, by_hand + layer.bias.detach().numpy(), rtol=1e-6)


def hierarchy(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.tensor([3.0, -1.0]), torch.tensor([20.0, 0.1])).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1)[..., None], 1.0).expand(z.shape[:-1] + (16,)).to_event(1), obs=x)


def pictures(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.tensor([3.0, -1.0]), torch.tensor([20.0, 0.1])).to_event(1))
        mean = z.sum(-1)[..., None, None].expand(*z.shape[:-1], 8, 8)
        pyro.sample("x", dist.Normal(mean, 1.0).to_event(2), obs=x)


@pytest.mark.parametrize("kind", [LinearCounts, MeanField, Full, Flow, LowRank, Convolutional])
def test_guides_of_normals_begin_near_the_prior_whatever_the_scale_of_the_data(kind):
    # Pictures on white ground of 0 to 255, and columns of very different scale.
    model, x = (pictures, torch.full((40, 8, 8), 255.0)) if kind is Convolutional else (hierarchy, torch.rand(40, 16))
    x = x * torch.logspace(-3, 4, x.shape[-1]) if x.ndim == 2 else x - 250 * (torch.rand(x.shape) < 0.1)
    drawn = run(kind(model, x), (x,), {}, draws=400)["z"]["value"].detach()
    away = (drawn.mean((0, 1)) - torch.tensor([3.0, -1.0])) / torch.tensor([20.0, 0.1])
    width = drawn.std((0, 1)) / torch.tensor([20.0, 0.1])
    assert away.abs().max() < 0.1
    assert (width.log().abs() < (1.5 if kind is LowRank else 0.03)).all()  # whose factor begins at small random numbers


def test_scales_are_themselves_within_bounds_and_finite_beyond():
    a = torch.linspace(-11.9, 3.9, 7)
    assert torch.equal(bounded_log_scale(a, 1.0), a)
    far = torch.tensor([-1e6, 1e6], requires_grad=True)
    found = bounded_log_scale(far, 10.0)
    np.testing.assert_allclose(found.detach(), np.log(10) + np.array([-15.0, 7.0]))
    assert torch.autograd.grad(found.sum(), far)[0].isfinite().all()
    # Continuous, with a continuous slope, where the bound begins.
    near = torch.tensor([4 - 1e-7, 4 + 1e-7], requires_grad=True)
    slope = torch.autograd.grad(bounded_log_scale(near, 1.0).sum(), near)[0]
    np.testing.assert_allclose(slope, 1.0, atol=1e-6)

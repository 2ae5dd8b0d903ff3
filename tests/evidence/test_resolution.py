"""Peaks between the nodes of a grid: made of every kind of operation, none is missed."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate, stats
from torch import nn

from ppl_vae.evidence.methods.quadrature import quadrature
from ppl_vae.evidence.resolution import between_nodes

pytestmark = pytest.mark.usefixtures("float64")

AT, WIDTH = 0.1234567, 1e-4
NODES = torch.linspace(-10, 10, 4097, dtype=torch.float64)[:, None]
BESIDE = NODES + 20 / 4096 * (2 * torch.randint(2, NODES.shape, generator=torch.Generator().manual_seed(0)) - 1)


def written(z):
    value = torch.zeros_like(z)
    value[(z - AT).abs() < WIDTH] = 1.0
    return value


def layers(activation, *weights):
    kind = {"dtype": torch.float64}
    first, last = nn.Linear(1, len(weights), **kind), nn.Linear(len(weights), 1, **kind)
    with torch.no_grad():
        first.weight[:] = 1 / WIDTH
        first.bias[:] = -AT / WIDTH + torch.linspace(1, -1, len(weights))
        last.weight[:], last.bias[:] = torch.tensor([weights], **kind), 0.0
    return lambda z: last(activation(first(z[..., None])))[..., 0]


PEAKS = {
    "exponential": lambda z: torch.exp(-(((z - AT) / WIDTH) ** 2)),
    "fraction": lambda z: 1 / (1 + ((z - AT) / WIDTH) ** 2),
    "power": lambda z: (1 + ((z - AT) / WIDTH) ** 2) ** -2.0,
    "choice": lambda z: torch.where((z - AT).abs() < WIDTH, 1.0, 0.0),
    "window": lambda z: ((z > AT) & (z < AT + WIDTH)).to(z),
    "excluded": lambda z: torch.where(~(z <= AT) & (z < AT + WIDTH), 1.0, 0.0),
    "rounding": lambda z: (torch.round(z / WIDTH) == 1234).to(z),
    "whole numbers": lambda z: ((z / WIDTH).long() == 1234).to(z),
    "table": lambda z: torch.tensor([1.0, 0.0])[((z - AT).abs() > WIDTH).long()],
    "written": written,
    "clamp": lambda z: (1 - (z - AT).abs() / WIDTH).clamp(min=0),
    "larger": lambda z: torch.maximum(1 - (z - AT).abs() / WIDTH, torch.zeros_like(z)),
    "largest": lambda z: torch.stack([1 - (z - AT).abs() / WIDTH, 0 * z], -1).amax(-1),
    "sorted": lambda z: torch.stack([1 - (z - AT).abs() / WIDTH, 0 * z], -1).sort(-1).values[..., 1],
    "rectifiers": layers(torch.relu, 1.0, -2.0, 1.0),
    "network": layers(torch.tanh, 0.5, -0.5),
    "softmax": lambda z: torch.stack([1 - ((z - AT) / WIDTH) ** 2, 0 * z], -1).softmax(-1)[..., 0],
    "sum of exponentials": lambda z: torch.stack([1 - ((z - AT) / WIDTH) ** 2, 0 * z], -1).logsumexp(-1),
    "wave": lambda z: torch.sin(z / WIDTH),
    "waves of peaks": lambda z: torch.exp(-((torch.sin(torch.pi * (z - AT)) / WIDTH) ** 2)),
    "steps": lambda z: torch.heaviside(WIDTH - (z - AT).abs(), z.new_tensor(1.0)),
    "signs": lambda z: 0.5 - 0.5 * torch.sign(z - AT) * torch.sign(z - AT - WIDTH),
}


@pytest.mark.parametrize("name", PEAKS)
def test_no_peak_between_nodes_is_missed(name):
    found = between_nodes(PEAKS[name], NODES, BESIDE)
    near = (NODES - AT).abs() < 0.01
    assert torch.maximum(found.bend, found.high - found.clean)[near].max() > 0.5
    torch.testing.assert_close(found.clean, PEAKS[name](NODES))


SMOOTH = {
    "exponential": lambda z: torch.exp(-((z - AT) ** 2)),
    "fraction": lambda z: 1 / (1 + (z - AT) ** 2),
    "network": lambda z: torch.tanh(30 * z) + nn.functional.softplus(20 * z) + torch.sigmoid(-7 * z),
    "polynomial": lambda z: (z - AT) ** 2 * 1e6 + z * 3 - 1,
    "softmax": lambda z: torch.stack([3 * z, -5 * z, 0 * z], -1).log_softmax(-1)[..., 1],
    "gamma": lambda z: torch.lgamma(z.exp()) + torch.log(z.exp() + 1),
    "never turned": lambda z: torch.where(z > 12, 1.0, z),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_what_the_nodes_tell_is_not_doubted(name):
    found = between_nodes(SMOOTH[name], NODES, BESIDE)
    assert found.bend is None or not found.bend.any()
    assert torch.equal(found.clean, found.high) and torch.equal(found.clean, found.low)


def test_a_corner_is_doubted_by_no_more_than_it_bends():
    bend = between_nodes(torch.relu, NODES, BESIDE).bend
    assert 0 < bend.max() <= 20 / 2048
    assert (bend[NODES.abs() > 0.02] == 0).all()


def test_numbers_that_leave_pytorch_are_seen():
    assert between_nodes(lambda z: torch.from_numpy(np.where(z.numpy() > 5, 1.0, 2.0)), NODES, BESIDE) is None
    assert between_nodes(lambda z: z * float(z[0, 0]), NODES, BESIDE) is None
    assert between_nodes(lambda z: z if z.max() < 11 else -z, NODES, BESIDE) is not None


def likelihood(mean):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(mean(z), 1.0), obs=x)

    return model


@pytest.mark.parametrize("name", ["exponential", "window", "rectifiers", "whole numbers", "waves of peaks"])
def test_a_sum_that_may_miss_a_peak_is_not_called_exact(name):
    """A likelihood whose mean is 6 for nearly all latents, and 0 in a ten-thousandth of the prior's deviation."""
    found = quadrature(likelihood(lambda z: 6 - 6 * PEAKS[name](z)), torch.zeros(1))
    assert found.bound == "approximate"
    assert "grid" in found.warnings[0]


def test_corners_that_the_grid_resolves_leave_a_sum_exact():
    torch.manual_seed(0)
    hidden = torch.randn(20)
    last = torch.randn(20) / 4

    def mean(z):
        return (torch.relu(z[..., None] * hidden + hidden.flip(0)) * last).sum(-1)

    def density(z):
        value = (np.maximum(z * hidden.numpy() + hidden.flip(0).numpy(), 0) * last.numpy()).sum()
        return stats.norm.pdf(z) * stats.norm.pdf(0.3, value, 1.0)

    found = quadrature(likelihood(mean), torch.full((1,), 0.3))
    assert found.bound == "exact" and not found.warnings
    corners = sorted((-hidden.flip(0) / hidden).tolist())
    expected = integrate.quad(density, -9, 9, points=[c for c in corners if abs(c) < 9], limit=500)[0]
    assert found.mean == pytest.approx(np.log(expected), abs=1e-4)


def test_peaks_of_two_latents():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            inside = ((z - AT).abs() < 0.01).all(-1)
            pyro.sample("x", dist.Normal(torch.where(inside, 0.0, 6.0), 1.0), obs=x)

    assert quadrature(model, torch.zeros(1)).bound == "approximate"

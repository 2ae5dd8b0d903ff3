"""Mutual information of guides of bits and normals, against brute force, grids and closed forms."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.full import Full
from ppl_vae.models.text import Text

from ppl_vae.diagnostics.information.information import information
from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.support import checked
from tests.support.information import Lines, table_of
from tests.support.small_pairs import BitsOfPoints, documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def by_force(table):
    """Information of each datum, by forming the aggregate, with and without the datum itself."""
    q = table.exp()
    among = (q * (table - q.mean(1, keepdim=True).log())).sum(0)
    without = (q.sum(1, keepdim=True) - q) / (q.shape[1] - 1)
    return among, (q * (table - without.log())).sum(0)


@pytest.mark.parametrize("data", [2, 5, 300])
def test_enumerated_information_is_that_by_force(data):
    pair, x = BitsOfPoints(3), torch.randn(data, 3)
    found = information(pair.model, pair.guide, x)
    among, upper = by_force(table_of(pair.guide, x, 3))
    torch.testing.assert_close(found.mutual.among.pointwise, among)
    torch.testing.assert_close(found.mutual.upper.pointwise, upper)
    assert found.mutual.lower.mean <= found.mutual.among.mean + 1e-12
    assert all(found.chain.values())


def test_sampled_numbers_agree_with_enumerated_ones():
    pair, x = BitsOfPoints(3), torch.randn(40, 3)
    exact = information(pair.model, pair.guide, x)
    with checked(pair.model, x):
        many = [information(pair.model, pair.guide, x, draws=8, codes=80, most_bits=1) for _ in range(60)]
    for name in ("among", "upper"):
        figures = torch.tensor([getattr(m.mutual, name).mean for m in many])[:, None]
        assert_mean(figures, torch.tensor([getattr(exact.mutual, name).mean]))
        assert figures.std() == pytest.approx(getattr(many[0].mutual, name).se, rel=0.5)
    assert_mean(torch.stack([m.rates.distortion.pointwise for m in many]), exact.rates.distortion.pointwise)
    torch.testing.assert_close(many[0].rates.rate.pointwise, exact.rates.rate.pointwise)
    assert many[0].rates.rate.bound == "exact"
    assert many[0].mutual.among.draws == 2


def test_a_random_part_of_the_data_stands_for_all_of_them():
    """Fewer codes than data: always the whole aggregate."""
    pair, x = BitsOfPoints(3), torch.randn(60, 3)
    among, _ = by_force(table_of(pair.guide, x, 3))
    with checked(pair.model, x):
        many = [information(pair.model, pair.guide, x, draws=2, codes=20, most_bits=1).mutual for _ in range(80)]
    assert len(many[0].among.pointwise) == len(many[0].rows) == 20
    assert_mean(torch.tensor([m.among.mean for m in many])[:, None], among.mean()[None])
    assert "20 of 60 data" in many[0].among.method


def test_bits_that_depend_on_each_other():
    x, model = documents(12, 9), Text(9, bits=3)
    guide = Full(model, x)
    torch.nn.init.normal_(guide.encoder.network.rest[-1].weight, std=3)
    found = information(model, guide, x, batch=5)
    among, upper = by_force(table_of(guide, x, 3))
    torch.testing.assert_close(found.mutual.among.pointwise, among)
    torch.testing.assert_close(found.mutual.upper.pointwise, upper)
    assert found.units.kl is None
    assert found.units.sites["z"] == pytest.approx(found.rates.rate.mean)
    means = table_of(guide, x, 3).exp().T @ bit_states(3)
    torch.testing.assert_close(found.units.variance, means.var(0))
    torch.testing.assert_close(found.rates.elbo.pointwise, measure(model, guide, x).elbo.pointwise)


@pytest.mark.parametrize("form", ["guide", "full_guide"])
def test_a_linear_gaussian_guide_against_its_mixture(form):
    """The mixture of Gaussians is integrated on a grid."""
    pair, x = Lines(), torch.randn(30, 1)
    grid = torch.linspace(-8, 8, 4001)[:, None]
    log_q = dist.Normal(x[:, 0], 0.5).log_prob(grid)
    weights = log_q.exp() * (grid[1] - grid[0])
    among = (weights * (log_q - (log_q.logsumexp(1, keepdim=True) - math.log(30)))).sum(0)
    rate = 0.5 * (0.25 + x[:, 0] ** 2 - 1 - math.log(0.25))
    with checked(pair.model, x):
        many = [information(pair.model, getattr(pair, form), x, draws=20, codes=600) for _ in range(25)]
    assert_mean(torch.stack([m.mutual.among.pointwise for m in many]), among)
    distortion = 0.5 * (0.25 + math.log(2 * math.pi)) * torch.ones(30)
    assert_mean(torch.stack([m.rates.distortion.pointwise for m in many]), distortion)
    if form == "guide":
        torch.testing.assert_close(many[0].rates.rate.pointwise, rate)
        assert many[0].units.kl.item() == pytest.approx(rate.mean().item())
        torch.testing.assert_close(many[0].units.variance, x.var(0))
    else:
        assert_mean(torch.stack([m.rates.rate.pointwise for m in many]), rate)
        assert_mean(torch.stack([m.units.variance for m in many]), x.var(0))
        assert_mean(torch.tensor([[m.units.sites["z"]] for m in many]), rate.mean()[None])


def test_information_of_a_population_lies_between_the_bounds():
    """Many data sets of a linear Gaussian channel, whose information is log(1 + gain) / 2."""
    pair = Lines(noise=0.3)
    truth = 0.5 * math.log(1 + 1 / 0.3**2)
    found = [information(pair.model, pair.guide, torch.randn(100, 1), draws=2, codes=200).mutual for _ in range(40)]
    for name, sign in (("lower", -1), ("among", -1), ("upper", 1)):
        figures = sign * torch.tensor([getattr(m, name).mean for m in found])
        assert figures.mean() + 4 * figures.std() / 40**0.5 > sign * truth


@pytest.mark.parametrize("most_bits", [16, 1])
def test_a_guide_that_tells_all_data_apart_reaches_log_n(most_bits):
    """The bound of leaving one out stays finite: without the datum the aggregate has next to nothing left."""
    x = bit_states(4)
    table = 200 * (2 * x - 1)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(4)).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=400 * x - 200).to_event(1))

    found = information(model, guide, x, draws=2, most_bits=most_bits)
    assert found.mutual.among.mean == pytest.approx(math.log(16))
    # The nearest others differ in one bit: four of fifteen.
    assert found.mutual.upper.mean == pytest.approx(table.max().item() + math.log(15 / 4))
    assert found.rates.rate.mean == pytest.approx(4 * math.log(2))
    assert found.mismatch.mean == pytest.approx(0, abs=1e-9)
    assert found.entropy.mean == pytest.approx(found.rates.distortion.mean + found.rates.rate.mean)
    assert "near the largest that 16 data can have, log N = 2.77" in found.warnings[0]


def test_guides_that_build_on_the_batch_size():
    """Codes that are not shared are repeated for each datum."""
    pair, x = BitsOfPoints(2), torch.randn(9, 3)

    def stiff(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=x @ pair.weight).to_event(1))
            if z.shape[-2] != len(x):
                raise RuntimeError("a code for each datum, please")

    torch.manual_seed(1)
    one = information(pair.model, pair.guide, x, most_bits=1, codes=18)
    torch.manual_seed(1)
    other = information(pair.model, stiff, x, most_bits=1, codes=18)
    torch.testing.assert_close(one.mutual.among.pointwise, other.mutual.among.pointwise)
    exact = information(pair.model, stiff, x)
    torch.testing.assert_close(exact.mutual.among.pointwise, by_force(table_of(pair.guide, x, 2))[0])

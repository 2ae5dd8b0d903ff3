"""Sums over a grid: where they are right, where too coarse, and where refused."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.image import Image
from ppl_vae.models.text import Text
from scipy import integrate, stats

from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.methods.quadrature import AFFORDABLE, quadrature
from ppl_vae.evidence.plan import plan
from ppl_vae.programs.log_weight import log_joint
from tests.support.small_pairs import LinearGaussian, documents

pytestmark = pytest.mark.usefixtures("float64")


def test_quadrature_counts_what_a_network_takes_at_every_node():
    model, x = Image(2, channels=4, blocks=1, shape=(28, 28)), torch.rand(5, 28, 28)
    assert "quadrature would take" in plan(model, x).why
    assert 2**18 * (x.numel() + sum(p.numel() for p in model.parameters())) < AFFORDABLE  # its weights meet many pixels


@pytest.mark.parametrize("latents", [1, 2])
def test_quadrature_meets_the_closed_form(latents):
    pair = LinearGaussian(latents)
    x = pair.simulate(7)[1]
    found = measure(pair.model, pair.guide, x, method="quadrature")
    torch.testing.assert_close(found.evidence.pointwise, pair.evidence(x), atol=1e-4, rtol=0)
    assert found.evidence.bound == "exact"
    assert not found.evidence.warnings
    assert found.gap.bound == "unbiased"


def test_quadrature_of_positive_latents():
    def model(x):
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
            pyro.sample("x", dist.Poisson(rate), obs=x)

    x = torch.tensor([0.0, 3.0, 11.0])
    torch.testing.assert_close(
        quadrature(model, x).pointwise, torch.tensor(stats.nbinom(2, 1 / 3).logpmf(x.numpy())), atol=1e-4, rtol=0
    )


def test_quadrature_meets_adaptive_integration_where_there_is_no_closed_form():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(torch.sin(3 * z) + z.relu(), 0.1), obs=x)

    x = torch.tensor([0.7])

    def density(z):
        return log_joint(model, x, {"z": torch.tensor([[z]])}).exp().item()

    expected, _ = integrate.quad(density, -8, 8, limit=500, epsabs=1e-9)
    torch.testing.assert_close(quadrature(model, x).pointwise, torch.tensor([expected]).log(), atol=1e-4, rtol=0)


def test_quadrature_says_where_its_grid_is_too_coarse(monkeypatch):
    for name, intervals in (("grid.FEWEST", 8), ("methods.quadrature.FEWEST", 8), ("methods.quadrature.MOST", 32)):
        monkeypatch.setattr(f"ppl_vae.evidence.{name}", {1: intervals})
    pair = LinearGaussian(1, noise=0.01)
    found = quadrature(pair.model, pair.simulate(5)[1])
    assert "data still change by up to" in found.warnings[0]


def test_corners_of_the_prior_lie_on_nodes():
    """The difference of two Laplace latents has the density (1 + |d|) exp(-|d|) / 4."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Laplace(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 0] - z[..., 1], 1.0), obs=x)

    def density(d):
        return (1 + abs(d)) / 4 * np.exp(-abs(d)) * stats.norm.pdf(1.5 - d)

    found = quadrature(model, torch.tensor([1.5]))
    assert found.bound == "exact"
    assert abs(found.mean - np.log(integrate.quad(density, -30, 30, points=[0, 1.5])[0])) < 1e-4


def test_quadrature_refuses_what_is_not_one_or_two_numbers():
    pair = LinearGaussian(3)
    with pytest.raises(ValueError, match="the latents have 3 dimensions; use the method 'closed_form'"):
        measure(pair.model, pair.guide, pair.simulate(2)[1], method="quadrature")
    model = Text(7, bits=2)
    with pytest.raises(ValueError, match="site 'z' is Bernoulli"):
        measure(model, MeanField(model, documents()), documents(), method="quadrature")


@pytest.mark.parametrize("dimensions", [1, 2])
def test_mixtures_as_priors(dimensions):
    weights, means = np.array([0.3, 0.7]), np.array([[-1.5, 0.0], [1.0, 0.5]])[:, :dimensions]

    def model(x):
        with pyro.plate("data", len(x)):
            if dimensions == 1:
                parts = dist.Normal(torch.tensor(means[:, 0]), 0.5)
            else:
                parts = dist.Normal(torch.tensor(means), 0.5).to_event(1)
            z = pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(torch.tensor(weights)), parts))
            z = z[..., None] if dimensions == 1 else z
            pyro.sample("x", dist.Normal(z, 0.8).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            fn = dist.Normal(x / 2, 1.0)
            pyro.sample("z", fn.to_event(1) if dimensions == 2 else dist.Normal(x[:, 0] / 2, 1.0))

    x = torch.randn(5, dimensions)
    densities = [stats.norm(mean, 0.89**0.5).logpdf(x.numpy()).sum(-1) for mean in means]
    truth = np.logaddexp(np.log(weights[0]) + densities[0], np.log(weights[1]) + densities[1])
    found = measure(model, guide, x)
    assert found.evidence.method.startswith("quadrature")
    np.testing.assert_allclose(found.evidence.pointwise.numpy(), truth, atol=1e-4)
    annealed = measure(model, guide, x, method="annealing", temperatures=50, draws=64).evidence
    assert annealed.bound == "lower"
    assert abs(annealed.mean - truth.mean()) < 6 * annealed.se + 0.02


def test_a_last_datum_with_a_prior_of_its_own_is_seen():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal((x > 5.0).double(), 1.0))
            pyro.sample("x", dist.Normal(z.tanh(), 1.0), obs=x)

    x = torch.zeros(300)
    x[-1] = 6
    with pytest.raises(ValueError, match="p.z. differs between them"):
        quadrature(model, x)


def test_priors_that_differ_between_data_do_not_share_a_grid():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(10 * x, 0.1))
            pyro.sample("x", dist.Normal(z.tanh(), 1.0), obs=x)

    with pytest.raises(ValueError, match="p.z. differs between the data"):
        measure(model, model, torch.tensor([0.0, 3.0]), method="quadrature")


def test_quadrature_does_not_settle_on_nothing():
    """The likelihood is zero but in a small window: minus infinity on every grid that misses it is no answer."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Uniform(z - 1e-3, z + 1e-3, validate_args=False), obs=x)

    pyro.enable_validation(False)
    x = torch.tensor([0.1234567, -0.7654321])
    torch.testing.assert_close(quadrature(model, x).pointwise, dist.Normal(0.0, 1.0).log_prob(x), atol=0.2, rtol=0)


def test_quadrature_near_the_end_of_a_support_is_refused():
    torch.set_default_dtype(torch.float32)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Beta(0.1, 0.1))
            pyro.sample("x", dist.Binomial(5, z), obs=x)

    pyro.enable_validation(False)
    with pytest.raises(ValueError, match="numbers of their latents run into the end of the support"):
        quadrature(model, torch.tensor([5.0]))


def heavy_tailed():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.StudentT(3.0, 0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.95 * x, 1.1))

    return model, guide


def test_posteriors_far_out_in_the_prior_are_reached_by_a_wider_grid():
    model, guide = heavy_tailed()
    x = torch.tensor([0.0, 30.0])
    truth = [
        np.log(integrate.quad(lambda z, v=v: stats.t.pdf(z, 3) * stats.norm.pdf(v, z, 1), v - 12, v + 12)[0])
        for v in x.tolist()
    ]
    ticks = []
    result = measure(model, guide, x, progress=ticks.append)
    assert result.evidence.bound == "exact" and sum(ticks) == len(x)
    np.testing.assert_allclose(result.evidence.pointwise.numpy(), truth, atol=1e-3)


def rare(mass, place, noise=5.0):
    """A normal prior with a rare component elsewhere, a guide that leaves it out, and log p(x)."""

    def model(x):
        with pyro.plate("data", len(x)):
            parts = dist.Normal(torch.tensor([0.0, place]), 1.0)
            z = pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(torch.tensor([1 - mass, mass])), parts))
            pyro.sample("x", dist.Normal(z, noise), obs=x)

    def guide(x):
        shrunk = 1 / (1 + noise**2)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(shrunk * x, (1 - shrunk) ** 0.5))

    def truth(x):
        width = np.hypot(1, noise)
        return np.logaddexp(
            np.log1p(-mass) + stats.norm(0, width).logpdf(x), np.log(mass) + stats.norm(place, width).logpdf(x)
        )

    return model, guide, truth


@pytest.mark.parametrize("mass, place, at", [(3e-3, 40.0, 50.0), (1e-4, 20.0, 25.0), (1e-6, 15.0, 30.0)])
def test_a_rare_component_of_the_prior_beyond_its_standard_deviations_is_reached(mass, place, at):
    model, guide, truth = rare(mass, place, place / 4)
    x = torch.tensor([0.0, at])
    found = measure(model, guide, x)
    assert found.evidence.bound == "exact" and not found.warnings
    np.testing.assert_allclose(found.evidence.pointwise.numpy(), truth(x.numpy()), atol=1e-4)


def test_mass_of_the_prior_that_no_node_sees_is_not_exact():
    model, _, _ = rare(1e-4, 1e5)
    found = quadrature(model, torch.zeros(2))
    assert found.bound == "approximate"
    assert "a part of the prior with a mass of 0.0001 lies where the grid does not see it" in found.warnings[0]


def test_where_quadrature_is_impossible_the_method_in_its_place_says_what_it_does_not_know():
    """Tails that the likelihood does not cut; the guide is the prior, whose weights are constant."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.StudentT(1.0, 0.0, 1.0))
            pyro.sample("x", dist.Bernoulli(logits=1e-8 * (z / 30).tanh()), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.StudentT(1.0, torch.zeros(len(x)), 1.0))

    ticks, x = [], torch.ones(2)
    found = measure(model, guide, x, draws=50, progress=ticks.append, check=True)
    assert found.evidence.bound == "lower" and "importance" in found.evidence.method and sum(ticks) == len(x)
    assert found.shortfall is not None
    assert found.why.startswith("no exact method applies: quadrature: 2 of 2 data have mass beyond 10 standard")
    assert any("constant over 50 draws of the guide and 256 of the prior" in line for line in found.warnings)


@pytest.mark.parametrize("freedom, width, noise", [(1.0, 30.0, 0.1), (1.2, 10.0, 0.1)])
def test_tails_that_the_likelihood_does_not_cut_are_refused(freedom, width, noise):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.StudentT(freedom, 0.0, 1.0))
            pyro.sample("x", dist.Normal((z / width).tanh(), noise), obs=x)

    with pytest.raises(ValueError, match="have mass beyond"):
        quadrature(model, torch.ones(1))


def test_parameters_that_underflow_at_the_end_of_the_grid_are_no_fault():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(1.0, 1.0))
            pyro.sample("x", dist.Exponential((-z).exp()), obs=x)

    x = torch.tensor([0.5, 2.0])
    truth = [np.log(integrate.quad(lambda z, v=v: np.exp(-z - z - v * np.exp(-z)), 0, 40)[0]) for v in x.tolist()]
    assert np.allclose(quadrature(model, x).pointwise.numpy(), truth, atol=1e-3)

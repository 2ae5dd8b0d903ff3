"""Rare states and mixture components of the prior, which draws of it miss."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import special, stats

from ppl_vae.distributions.flattened import flattened, rare_parts
from ppl_vae.distributions.mixtures import MixtureOfNormals
from ppl_vae.evidence.ais import AIS, Schedule
from ppl_vae.evidence.bdmc import sandwich
from ppl_vae.evidence.mcmc import local_scale
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.rare_parts import far_out, with_flat_prior
from ppl_vae.programs.flat_prior import FlatPrior
from ppl_vae.programs.log_weight import log_joint, log_parts
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

FAR, NOISE = np.array([0.0, 20.0]), np.array([1.0, 0.3])


def rare_component(mass, place=FAR):
    """A number of three coordinates, whose prior has a rare component far away, and log p(x)."""

    def model(x):
        weights = dist.Categorical(torch.tensor([1 - mass, mass]))
        parts = dist.Normal(torch.tensor(place), torch.tensor(NOISE))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.MixtureSameFamily(weights, parts))
            e = pyro.sample("e", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
            mean = torch.stack([z, z + e[..., 0], z - e[..., 1]], -1)
            pyro.sample("x", dist.Normal(mean, 2.0).to_event(1), obs=x)

    def log_evidence(x):
        parts = []
        for weight, mean, noise in zip([1 - mass, mass], place, NOISE, strict=True):
            covariance = np.diag([4.0, 5.0, 5.0]) + noise**2
            parts.append(np.log(weight) + stats.multivariate_normal(np.full(3, mean), covariance).logpdf(x))
        return special.logsumexp(parts, 0)

    return model, log_evidence


def without_it(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.1 * x.mean(-1), 1.0))
        pyro.sample("e", dist.Normal(0.0, 1.0).expand([2]).to_event(1))


def between():
    return torch.tensor(np.random.default_rng(1).normal(12, 1, (5, 3)))


def two_rare_bits(x):
    with pyro.plate("data", len(x)):
        b = pyro.sample("b", dist.Bernoulli(torch.tensor([0.01, 0.5, 0.002])).to_event(1))
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.795, 0.005])))
        pyro.sample("x", dist.Normal(b.sum(-1) + k, 1.0), obs=x)


def test_flattened_weights_are_a_mixture_with_the_uniform_distribution():
    w = np.array([0.9, 0.0, 0.1])
    even = 0.6 * w + 0.4 * np.array([0.5, 0.0, 0.5])
    categorical = flattened(dist.Categorical(torch.tensor(w)).expand([4]).to_event(1), 0.4)
    assert categorical.event_shape == (4,)
    value = torch.tensor([0, 2, 2, 0])
    np.testing.assert_allclose(categorical.log_prob(value).item(), 2 * np.log(even[[0, 2]]).sum(), rtol=1e-12)
    normals = MixtureOfNormals(torch.tensor([0.9, 0.1]).log(), torch.tensor([[0.0], [9.0]]), torch.ones(2, 1))
    same = dist.MixtureSameFamily(
        dist.Categorical(torch.tensor([0.9, 0.1])), dist.Normal(torch.tensor([[0.0], [9.0]]), 1.0).to_event(1)
    )
    expected = special.logsumexp(stats.norm([0.0, 9.0]).logpdf(8.0), b=[0.7, 0.3])
    for fn in (normals, same, same.expand([1]).mask(torch.tensor([True]))):
        assert flattened(fn, 0.5).log_prob(torch.tensor([8.0])).item() == pytest.approx(expected)
    plain = dist.Normal(torch.zeros(3), 1.0).to_event(1)
    assert flattened(plain, 0.5) is plain
    assert rare_parts(plain) == 0


def test_models_without_rare_parts_stay_as_they_are_and_others_share_the_uniform_part():
    def even(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(0.3 * torch.ones(4)).to_event(1))

    x = torch.zeros(5)
    assert with_flat_prior(even, x, 0.5) is even
    flat = with_flat_prior(two_rare_bits, x, 0.6)
    assert isinstance(flat, FlatPrior)
    assert flat.share == pytest.approx(0.2)  # two bits and a state are rare


def test_elements_without_rare_parts_are_drawn_from_the_prior_itself():
    on = torch.full((20,), 0.17)
    on[0] = 0.01
    bits = dist.Bernoulli(on).to_event(1)
    assert rare_parts(bits) == 1
    even = np.concatenate([[0.5 * 0.01 + 0.25], np.full(19, 0.17)])
    for value in (torch.zeros(20), torch.ones(20)):
        expected = np.log(np.where(value.numpy() == 1, even, 1 - even)).sum()
        assert flattened(bits, 0.5).log_prob(value).item() == pytest.approx(expected)
    several = torch.full((3, 20), 0.17)
    several[1, :4] = 0.01
    assert rare_parts(dist.Bernoulli(several).to_event(1)) == 4  # of the datum that has most
    assert rare_parts(dist.Bernoulli(torch.tensor(0.01)).expand([7]).to_event(1)) == 7


def test_the_joint_density_is_the_same_and_its_parts_are_those_of_the_prior_drawn_from():
    x = torch.tensor([0.3, 2.0, 4.0])
    values = {"b": torch.tensor([[[1.0, 0, 0]], [[0, 1.0, 1.0]]]).expand(2, 3, 3), "k": torch.tensor([[1], [2]])}
    values["k"] = values["k"].expand(2, 3)
    flat = FlatPrior(two_rare_bits, 0.2)
    torch.testing.assert_close(log_joint(flat, x, values), log_joint(two_rare_bits, x, values))
    likelihood, prior = log_parts(flat, x, values)
    on = 0.8 * np.array([0.01, 0.5, 0.002]) + 0.1
    bits = np.log(np.where([[1, 0, 0], [0, 1, 1]], on, 1 - on)).sum(-1)
    states = np.log(0.8 * np.array([0.795, 0.005]) + 0.2 / 3)
    np.testing.assert_allclose(prior["b"][:, 0].numpy(), bits)
    np.testing.assert_allclose(prior["k"][:, 0].numpy(), states)
    torch.testing.assert_close(likelihood + prior["b"] + prior["k"], log_joint(two_rare_bits, x, values))


@pytest.mark.parametrize(
    ("method", "options", "error"),
    [
        ("annealing", {"draws": 16, "temperatures": 80}, 0.5),
        ("best_member", {"draws": 200}, 0.05),
        ("importance", {"draws": 1000}, None),
    ],
)
def test_a_rare_component_that_the_guide_leaves_out_is_found_or_warned_of(method, options, error):
    x, (model, log_evidence) = between(), rare_component(1e-4)
    torch.manual_seed(1)
    found, truth = measure(model, without_it, x, method=method, check=False, **options), log_evidence(x.numpy()).mean()
    bracket = found.bracket()
    assert bracket.lower <= truth
    assert bracket.upper is None or bracket.upper >= truth
    if error is not None:
        assert found.evidence.mean == pytest.approx(truth, abs=error)
    else:
        assert any("leaves out" in line for line in found.warnings)


def test_chains_from_a_flattened_prior_are_unbiased_there_and_back():
    near = np.array([0.0, 2.0])
    model, log_evidence = rare_component(0.05, near)
    generator = np.random.default_rng(3)
    which = (generator.random(200) < 0.05).astype(int)
    z = generator.normal(near[which], NOISE[which])
    e = generator.normal(size=(200, 2))
    x = generator.normal(np.stack([z, z + e[:, 0], z - e[:, 1]], -1), 2.0)
    schedule = Schedule(temperatures=40, start="prior")
    flat = with_flat_prior(model, torch.tensor(x), 1.0)
    assert isinstance(flat, FlatPrior)
    torch.manual_seed(0)
    chains = AIS(flat, without_it, torch.tensor(x), schedule)
    there, back = chains.both({"z": torch.tensor(z), "e": torch.tensor(e)}, 2)
    truth = torch.tensor(log_evidence(x))
    assert_mean((there - truth).exp().mean(0), torch.tensor(1.0))
    assert_mean((truth - back).exp().mean(0), torch.tensor(1.0))


def test_the_sandwich_of_data_of_a_rare_component_holds_the_evidence():
    model, log_evidence = rare_component(0.02)
    z, e = torch.tensor([20.1, 19.8, 0.2]), torch.zeros(3, 2)
    x = torch.stack([z, z + 1, z - 2], -1)
    torch.manual_seed(0)
    found = sandwich(model, without_it, x, draws=8, schedule=Schedule(40), drawn_with={"z": z, "e": e})
    truth = log_evidence(x.numpy()).mean()
    assert found.lower.mean - 3 * found.lower.se <= truth <= found.upper.mean + 3 * found.upper.se


def test_the_scale_within_a_mode_is_that_of_a_component():
    torch.manual_seed(0)
    normal = 3 * torch.randn(256, 1)
    apart = torch.cat([torch.randn(128, 1), 50 + torch.randn(128, 1)])
    assert local_scale(normal).item() == pytest.approx(3.0, rel=0.3)
    assert local_scale(apart).item() < 3.0 < apart.std().item()


def test_widened_normals_are_a_mixture_of_two_deviations():
    expected = special.logsumexp(stats.norm([1.0, 1.0], [2.0, 6.0]).logpdf(4.0), b=[0.75, 0.25])
    normals = flattened(dist.Normal(torch.ones(2), 2.0).to_event(1), 0.25, 3.0)
    assert normals.log_prob(torch.full((2,), 4.0)).item() == pytest.approx(2 * expected)
    tril = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
    plane = flattened(dist.MultivariateNormal(torch.zeros(2), scale_tril=tril), 0.25, 3.0)
    covariance = (tril @ tril.T).numpy()
    parts = [stats.multivariate_normal(np.zeros(2), k * covariance).logpdf([3.0, -1.0]) for k in (1, 9)]
    assert plane.log_prob(torch.tensor([3.0, -1.0])).item() == pytest.approx(special.logsumexp(parts, b=[0.75, 0.25]))
    numbers = flattened(dist.LogNormal(torch.ones(1), 2.0), 0.25, 3.0)
    assert numbers.log_prob(torch.tensor([np.exp(4.0)])).item() == pytest.approx(expected - 4.0)


def beyond(x):
    """A mean that jumps where a normal is far out in its tail."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(6.0 * (z > 3.5), 1.0), obs=x)


def prior_of_it(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))


def test_a_tail_to_which_no_slope_leads_is_looked_at():
    x = torch.tensor([6.5, 7.0, 0.3])
    jumps = [stats.norm.logsf(3.5) + stats.norm(6.0).logpdf(x.numpy()), stats.norm.logcdf(3.5) + stats.norm.logpdf(x)]
    truth = special.logsumexp(jumps, 0)
    torch.manual_seed(0)
    found = measure(beyond, prior_of_it, x, method="annealing", draws=8, temperatures=10, check=False)
    assert found.evidence.mean == pytest.approx(truth.mean(), abs=0.5)
    assert any("draws of a wide prior reach" in line for line in found.warnings)
    assert truth.mean() in found.bracket()
    looks = far_out(beyond, torch.full((400,), 7.0))
    once = special.logsumexp(
        [stats.norm.logsf(3.5) + stats.norm.logpdf(1), stats.norm.logcdf(3.5) + stats.norm.logpdf(7)]
    )
    assert_mean((looks.pointwise - once).exp(), torch.tensor(1.0))


def test_many_numbers_are_not_looked_at():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(40), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    assert far_out(model, torch.zeros(3)) is None


def test_latents_outside_the_support_of_a_flattened_prior_have_no_weight():
    def model(x):
        weights = dist.Categorical(torch.tensor([0.99, 0.01]))
        parts = dist.Uniform(torch.tensor([0.0, 5.0]), torch.tensor([1.0, 6.0]), validate_args=False)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.MixtureSameFamily(weights, parts, validate_args=False))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    flat = with_flat_prior(model, torch.zeros(1), 0.5)
    assert isinstance(flat, FlatPrior)
    likelihood, prior = log_parts(flat, torch.zeros(1), {"z": torch.tensor([[3.0], [5.5]])})
    joint = (likelihood + prior["z"]).flatten().numpy()
    np.testing.assert_allclose(joint, [-np.inf, np.log(0.01) + stats.norm.logpdf(5.5)])

"""Annealed importance sampling, forward and backward."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.mean_field import MeanField
from scipy import integrate, stats

from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.ais import AIS, Schedule
from ppl_vae.evidence.coordinates import Coordinates
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.log_weight import log_joint
from tests.support.evidence_cases import one_bit_and_a_number
from tests.support.small_pairs import LinearGaussian, text_pair
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def posterior_codes(model, x):
    with torch.no_grad():
        table = log_joint(model, x, {"z": bit_states(model.bits)[:, None]})
    return table.logsumexp(0), bit_states(model.bits)[torch.distributions.Categorical(logits=table.T).sample()]


def mixed_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.5 * x, 1.0))
        pyro.sample("b", dist.Bernoulli(0.5 * torch.ones(len(x))))


def systems(name):
    """Model, guide, data with exact posterior draws behind them, and exact evidence."""
    if name == "gaussian":
        pair = LinearGaussian(2, noise=1.5)
        z, x = pair.simulate(300)
        return pair.model, pair.guide, x, {"z": z}, pair.evidence(x)
    if name == "mixed":
        b = torch.bernoulli(torch.full((300,), 0.3))
        z = 2 * b + torch.randn(300)
        x = z + b + 0.5 * torch.randn(300)
        parts = [dist.Normal(3.0 * k, 1.25**0.5).log_prob(x) + np.log(0.3 if k else 0.7) for k in (0, 1)]
        return one_bit_and_a_number, mixed_guide, x, {"b": b, "z": z}, torch.logaddexp(*parts)
    model, guide, x = text_pair(5, 1, Full if name == "joint bits" else MeanField, scale=5.0)
    x = x[torch.arange(300) % 9]
    evidence, codes = posterior_codes(model, x)
    return model, guide, x, {"z": codes}, evidence


@pytest.mark.parametrize("start", ["guide", "prior"])
@pytest.mark.parametrize("name", ["gaussian", "mixed", "bits", "joint bits"])
def test_annealed_weights_are_unbiased_there_and_back(name, start):
    """E exp(w) = p(x) on the way there, E exp(-w) = 1 / p(x) on the way back from exact posterior draws."""
    model, guide, x, posterior, evidence = systems(name)
    annealer = AIS(model, guide, x, Schedule(temperatures=25, start=start, leapfrog_steps=3))
    there, back = annealer.both(posterior, 1)
    # A datum each: the ratios are independent, all of mean one.
    assert_mean((there[0] - evidence).exp(), torch.tensor(1.0))
    assert_mean((evidence - back[0]).exp(), torch.tensor(1.0))
    kinds = {"gaussian": {"real"}, "mixed": {"real", "bits"}}.get(name, {"bits"})
    assert set(annealer.accepted) == kinds
    assert all(0.05 < share <= 1 for share in annealer.accepted.values())


@pytest.mark.parametrize("name", ["gaussian", "mixed", "bits"])
def test_more_temperatures_close_in_on_the_truth_from_below(name):
    model, guide, x, _, evidence = systems(name)
    x, evidence = x[:30], evidence[:30]
    slow = measure(model, guide, x, method="annealing", draws=8, temperatures=50)
    assert slow.evidence.bound == "lower"
    assert (slow.evidence.pointwise - evidence).mean().abs() < 6 * slow.evidence.se + 0.02
    assert slow.evidence.method == "annealing, 50 temperatures, 8 chains"


def test_flips_without_slope_are_blind_but_right():
    table = torch.randn(4, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(table[(2 * z[..., 0] + z[..., 1]).long()], 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=torch.ones(len(x), 2)).to_event(1))

    x = torch.randn(300, 2)
    exact = measure(model, guide, x).evidence.pointwise
    weights = AIS(model, guide, x, Schedule(temperatures=6, start="guide")).forward(1)
    assert_mean((weights[0] - exact).exp(), torch.tensor(1.0))


def test_annealing_refuses_latents_it_cannot_move():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(torch.ones(3)))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    with pytest.raises(ValueError, match="site 'k' is categorical; latents must be bits, or continuous"):
        measure(model, model, torch.zeros(2), method="annealing")


def test_impossible_starts_do_not_spoil_the_chains():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Uniform(-z.sum(-1), 0.2 + z.sum(-1), validate_args=False), obs=x)

    pyro.enable_validation(False)
    x = torch.tensor([0.1, -1.5, 9.0])

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=torch.zeros(len(x), 2)).to_event(1))

    found = measure(model, guide, x, method="annealing", draws=200, temperatures=5).evidence
    assert found.pointwise[2] == -torch.inf
    assert (found.pointwise[:2] > -5).all()


def test_a_schedule_needs_steps():
    with pytest.raises(ValueError, match="at least one temperature and one leapfrog step, got 0 and 5"):
        Schedule(temperatures=0)
    with pytest.raises(ValueError, match="starts from 'guide', 'prior' or 'both'"):
        Schedule(start="Prior")
    betas = Schedule().betas(10)
    assert (betas[0], betas[-1], len(betas)) == (0, 1, 11)
    assert (betas.diff() > 0).all()


def test_one_temperature_is_importance_sampling():
    model, guide, x = text_pair(4, 1, scale=5.0)
    exact = measure(model, guide, x).evidence.pointwise
    weights = AIS(model, guide, x, Schedule(temperatures=1, start="guide")).forward(4000)
    assert_mean((weights - exact).exp(), torch.ones(9))


def test_a_last_datum_with_a_support_of_its_own_is_seen():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(0.0, torch.where(x > 5, 2.0, 1.0)))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = torch.zeros(300)
    Coordinates(model, x)
    x[-1] = 6
    with pytest.raises(ValueError, match="the support of site 'z' differs between data"):
        Coordinates(model, x)


def test_supports_that_differ_between_data_are_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(0.0, 1 + x))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match="the support of site 'z' differs between data"):
        measure(model, model, torch.tensor([1.0, 3.0]), method="annealing")


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("name", ["LogNormal(0, 1)", "Gamma(0.3, 1)"])
def test_positive_latents_stay_in_their_support(name, validation):
    """Moves that leave it, or reach its end in floating point, are rejected; the bound is a number below the truth."""
    prior, law, proposal = {
        "LogNormal(0, 1)": (dist.LogNormal(0.0, 1.0), stats.lognorm(1), lambda x: dist.LogNormal((x + 0.5).log(), 0.5)),
        "Gamma(0.3, 1)": (dist.Gamma(0.3, 1.0), stats.gamma(0.3), lambda x: dist.Gamma(0.4 + x, 2.2)),
    }[name]

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(pyro.sample("z", prior)), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", proposal(x))

    x = torch.tensor([0.0, 1.0, 2.0, 5.0, 9.0])
    truth = [integrate.quad(lambda u, v=v: stats.poisson.pmf(v, law.ppf(u)), 0, 1, limit=200)[0] for v in x.tolist()]
    torch.manual_seed(0)
    with pyro.validation_enabled(validation):
        evidence = measure(model, guide, x, method="annealing", draws=40, temperatures=50).evidence
    assert evidence.pointwise.isfinite().all()
    error = evidence.pointwise.double() - torch.tensor(truth).log()
    assert (error.abs() < 5 * evidence.pointwise_se + 0.02).all()

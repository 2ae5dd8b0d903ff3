"""Closed forms, quadrature, smoothing and annealing against each other and against enumeration."""

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.image import Image
from ppl_vae.models.text import Text
from scipy import integrate, stats

from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.ais import AIS, Schedule
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.methods.quadrature import AFFORDABLE, quadrature
from ppl_vae.evidence.plan import plan
from ppl_vae.evidence.psis import smoothed
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.log_weight import log_joint
from tests.support.small_pairs import LinearGaussian, documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def log_mean(weights):
    return weights.logsumexp(0) - np.log(len(weights))


@pytest.mark.parametrize("latents", [1, 2, 5])
def test_linear_gaussians_have_closed_forms(latents):
    pair = LinearGaussian(latents)
    x = pair.simulate(6)[1]
    found = measure(pair.model, pair.guide, x)
    assert found.evidence.method == "closed form: the posterior is Gaussian"
    assert (found.evidence.bound, found.gap.bound, found.why) == (
        "exact",
        "exact",
        "log p(x, z) is quadratic in the latents",
    )
    torch.testing.assert_close(found.evidence.pointwise, pair.evidence(x))
    runs = [measure(pair.model, pair.guide, x, method="importance", draws=100).elbo for _ in range(100)]
    assert_mean(torch.stack([run.pointwise for run in runs]), found.elbo.pointwise)
    torch.testing.assert_close(measure(pair.model, pair.guide, x[[4, 1]]).gap.pointwise, found.gap.pointwise[[4, 1]])


def test_the_posterior_of_a_linear_gaussian_leaves_no_gap():
    pair = LinearGaussian(3)
    x = pair.simulate(5)[1]
    found = measure(pair.model, pair.posterior, x)
    torch.testing.assert_close(found.gap.pointwise, torch.zeros(5))


def hierarchical(x):
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.Normal(0.5, 2.0))
        b = pyro.sample("b", dist.Normal(a[..., None] * torch.tensor([1.0, -1.0]), 0.3).to_event(1))
        pyro.sample("x", dist.Normal(b.sum(-1) + a, 0.2), obs=x)


def hierarchical_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("b", dist.MultivariateNormal(torch.stack([x, x], -1), torch.tensor([[0.2, 0.1], [0.1, 0.3]])))
        pyro.sample("a", dist.Normal(0.9 * x, 0.4))


def test_hierarchies_of_gaussians_too_whatever_the_order_of_the_guide():
    x = torch.randn(5)
    found = measure(hierarchical, hierarchical_guide, x)
    torch.testing.assert_close(found.evidence.pointwise, dist.Normal(0.5, (4 + 2 * 0.09 + 0.04) ** 0.5).log_prob(x))
    runs = [measure(hierarchical, hierarchical_guide, x, method="importance", draws=100) for _ in range(100)]
    assert_mean(torch.stack([run.elbo.pointwise for run in runs]), found.elbo.pointwise)


def normals(guide_scale=1.0):
    """A guide that proposes normals for two latents."""

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), guide_scale).to_event(1))

    return guide


def bent(size):
    """Linear but for a kink, or a wave."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            mean = z @ torch.tensor([[1.0, -0.5, 2.0], [0.3, 1.0, 0.0]]) + size * (z[..., :1] - 2).relu()
            pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)

    return model


def test_quadrature_counts_what_a_network_takes_at_every_node():
    model, x = Image(2, channels=4, blocks=1, shape=(28, 28)), torch.rand(5, 28, 28)
    assert "quadrature would take" in plan(model, x).why
    assert 2**18 * (x.numel() + sum(p.numel() for p in model.parameters())) < AFFORDABLE  # its weights meet many pixels


def test_a_kink_far_from_the_data_is_noticed():
    x = torch.zeros(3, 3)
    assert plan(bent(0.0), x).method.name == "closed_form"
    assert plan(bent(0.5), x).method.name == "quadrature"
    with pytest.raises(ValueError, match="closed form is not possible: log p.x, z. is not quadratic in z"):
        measure(bent(0.5), normals(), x, method="closed_form")


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
    monkeypatch.setattr("ppl_vae.evidence.methods.quadrature.NODES", {1: (8, 32)})
    pair = LinearGaussian(1, noise=0.01)
    found = quadrature(pair.model, pair.simulate(5)[1])
    assert "data still change by up to" in found.warnings[0]


def test_quadrature_refuses_what_is_not_one_or_two_numbers():
    pair = LinearGaussian(3)
    with pytest.raises(ValueError, match="the latents have 3 dimensions; use the method 'closed_form'"):
        measure(pair.model, pair.guide, pair.simulate(2)[1], method="quadrature")
    model = Text(7, bits=2)
    with pytest.raises(ValueError, match="site 'z' is Bernoulli"):
        measure(model, MeanField(model, documents()), documents(), method="quadrature")


@pytest.mark.parametrize("draws", [40, 1000])
def test_smoothed_weights_are_those_of_arviz(draws):
    weights = torch.randn(draws, 20) * torch.linspace(0.1, 4, 20)
    theirs, _ = az.psislw(weights.T.numpy())
    ours = smoothed(weights)
    np.testing.assert_allclose((ours - ours.logsumexp(0)).T.numpy(), np.sort(theirs, -1), atol=1e-9)


def test_smoothed_evidence_is_close_and_calls_itself_so():
    pair = LinearGaussian(2, noise=4.0)
    pair.weight *= 0
    x = pair.simulate(50)[1]
    found = measure(pair.model, pair.guide, x, method="psis", draws=1000)
    assert found.evidence.bound == "approximate"
    assert abs(found.evidence.mean - pair.evidence(x).mean()) < 6 * found.evidence.se
    assert str(found).count("~") == 2


def test_ties_of_few_states_are_not_smoothed():
    weights = torch.tensor([0.0, 1.0, 3.0])[torch.randint(3, (500, 4))]
    torch.testing.assert_close(smoothed(weights), weights.sort(0).values)


def text_pair(bits, guide=MeanField):
    x = documents(9, 11)
    model = Text(11, bits=bits, hidden=1, width=8)
    model.words.weight.data *= 5
    return model, guide(model, x, width=8), x


def posterior_codes(model, x):
    with torch.no_grad():
        table = log_joint(model, x, {"z": bit_states(model.bits)[:, None]})
    return table.logsumexp(0), bit_states(model.bits)[torch.distributions.Categorical(logits=table.T).sample()]


def one_bit_and_a_number(x):
    with pyro.plate("data", len(x)):
        b = pyro.sample("b", dist.Bernoulli(0.3))
        z = pyro.sample("z", dist.Normal(2 * b, 1.0))
        pyro.sample("x", dist.Normal(z + b, 0.5), obs=x)


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
    model, guide, x = text_pair(5, Full if name == "joint bits" else MeanField)
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
    slow = measure(model, guide, x, method="annealing", draws=8, temperatures=200)
    assert slow.evidence.bound == "lower"
    assert (slow.evidence.pointwise - evidence).mean().abs() < 6 * slow.evidence.se + 0.02
    assert slow.evidence.method == "annealing, 200 temperatures, 8 chains"


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
    weights = AIS(model, guide, x, Schedule(temperatures=6)).forward(1)
    assert_mean((weights[0] - exact).exp(), torch.tensor(1.0))


def test_annealing_refuses_latents_it_cannot_move():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(torch.ones(3)))

    with pytest.raises(ValueError, match="site 'k' is categorical; latents must be continuous, or bits"):
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


def test_an_interrupted_measurement_goes_on_where_it_was():
    pair = LinearGaussian(4)
    x = pair.simulate(20)[1]
    options = {"method": "annealing", "draws": 64, "temperatures": 4}
    torch.manual_seed(7)
    whole = measure(pair.model, pair.guide, x, **options)

    class Stops(dict):
        def __setitem__(self, start: int, found: Evidence) -> None:
            super().__setitem__(start, found)
            if start == 8:
                raise KeyboardInterrupt

    done = Stops()
    torch.manual_seed(7)
    with pytest.raises(KeyboardInterrupt):
        measure(pair.model, pair.guide, x, done=done, **options)
    assert list(done) == [0, 8]
    torch.manual_seed(7)
    counted = []
    again = measure(pair.model, pair.guide, x, done=dict(done), progress=counted.append, **options)
    torch.testing.assert_close(again.evidence.pointwise, whole.evidence.pointwise, rtol=0, atol=0)
    assert sum(counted) == plan(pair.model, x, **options).cells


@pytest.mark.parametrize("method", ["enumeration", "importance", "psis", "annealing"])
def test_progress_counts_what_the_plan_promised(method):
    model, guide, x = text_pair(4)
    counted = []
    options = {"method": method, "draws": 24} | ({"temperatures": 5} if method == "annealing" else {})
    measure(model, guide, x, progress=counted.append, **options)
    assert sum(counted) == plan(model, x, **options).cells


def test_auto_says_why():
    model, guide, x = text_pair(4)
    assert measure(model, guide, x).why == "the discrete latents have 16 joint states"
    found = measure(model, guide, x, most_bits=3, draws=30)
    assert found.why == (
        "no exact method applies: enumeration: the latents have 16 joint states, more than 2^3; "
        "closed form: site 'z' is Bernoulli; quadrature: site 'z' is Bernoulli"
    )
    assert measure(model, guide, x, method="psis").why == "psis, as requested"
    with pytest.raises(ValueError, match="there is no evidence method 'exact'; choose from annealing, closed_form"):
        measure(model, guide, x, method="exact")


def test_a_schedule_needs_steps():
    with pytest.raises(ValueError, match="at least one temperature and one leapfrog step, got 0 and 5"):
        Schedule(temperatures=0)
    with pytest.raises(ValueError, match="starts from 'guide' or 'prior'"):
        Schedule(start="Prior")
    betas = Schedule().betas(10)
    assert (betas[0], betas[-1], len(betas)) == (0, 1, 11)
    assert (betas.diff() > 0).all()


def test_one_temperature_is_importance_sampling():
    model, guide, x = text_pair(4)
    exact = measure(model, guide, x).evidence.pointwise
    weights = AIS(model, guide, x, Schedule(temperatures=1)).forward(4000)
    assert_mean((weights - exact).exp(), torch.ones(9))


def test_priors_without_a_known_map_are_left_to_importance():
    """A mixture as the prior, as learned priors are, and counts."""

    def mixture(x):
        with pyro.plate("data", len(x)):
            parts = dist.Normal(torch.tensor([-1.0, 1.0]), 0.5)
            z = pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), parts))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 1.0))

    def counts(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Poisson(2.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def counted(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Poisson(2.0 + 0 * x))

    for model, q in ((mixture, guide), (counts, counted)):
        assert measure(model, q, torch.randn(4), draws=30).evidence.method == "importance, 30 draws"


def test_data_that_are_not_gaussian_after_all_are_found_out_later():
    """Censored at zero: the first data are not, those behind them are."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            seen = dist.Normal(z, 1.0).log_prob(x)
            cut = torch.distributions.Normal(0.0, 1.0).cdf(-z).clamp(min=1e-300).log()
            pyro.sample("x", dist.Unit(torch.where(x > 0, seen, cut)), obs=torch.empty(*seen.shape, 0))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0 * x, 1.0))

    x = torch.tensor([0.5, 1.0, 2.0, 0.3, 0.0, 0.0])
    expected = torch.where(x > 0, dist.Normal(0.0, 2**0.5).log_prob(x), torch.tensor(0.5).log())
    assert plan(model, x).method.name == "closed_form"
    torch.testing.assert_close(measure(model, guide, x).evidence.pointwise, expected, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="not quadratic in z for all data"):
        measure(model, guide, x, method="closed_form")


def test_constant_weights_of_a_guide_that_leaves_out_half_are_a_bound():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(20)).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 0], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=torch.tensor([30.0] + [0.0] * 19).expand(len(x), 20)).to_event(1))

    found = measure(model, guide, torch.zeros(3), draws=50)
    assert found.evidence.bound == "lower"
    assert "constant where the guide draws, but not elsewhere" in found.evidence.warnings[0]


def test_supports_that_differ_between_data_are_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(0.0, 1 + x))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match="the support of site 'z' differs between data"):
        measure(model, model, torch.tensor([1.0, 3.0]), method="annealing")


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


def test_quadrature_near_the_end_of_a_support_says_so():
    torch.set_default_dtype(torch.float32)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Beta(0.1, 0.1))
            pyro.sample("x", dist.Binomial(5, z), obs=x)

    pyro.enable_validation(False)
    found = quadrature(model, torch.tensor([5.0]))
    assert found.bound == "approximate"
    assert found.warnings


def test_methods_of_modules_are_measured_in_evaluation_mode():
    class Vae(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Dropout(0.5))

        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.net(z), 1.0).to_event(1), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))

    vae, x = Vae(), torch.randn(3, 3)
    assert measure(vae.model, vae.guide, x).evidence.method == "closed form: the posterior is Gaussian"
    assert vae.net[1].training


def test_a_closed_form_needs_a_guide_of_these_latents():
    pair = LinearGaussian(2)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("w", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))

    with pytest.raises(ValueError, match=r"the guide draws \['w'\]"):
        measure(pair.model, guide, torch.randn(3, 4))

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.text import Text
from torch import nn

from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.gradient_ascent import optimal_member
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.amortised import independent, parameter_count, parameters_of
from ppl_vae.programs.latent import Latent
from tests.support.small_pairs import BitsOfPoints, LinearGaussian, documents, text_pair
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def valued(model, found, *latents):
    """The exact ELBO of the members found."""

    def guide(x):
        parts = found.free[: len(x)].split([parameter_count(latent) for latent in latents], -1)
        with pyro.plate("data", len(x)):
            for latent, part in zip(latents, parts, strict=True):
                pyro.sample(latent.name, independent(latent, part))

    return lambda x: measure(model, guide, x).elbo


def falls_short(found, exact, best):
    """Members are no better than the best, and worse by no more than the search is said to err; values are theirs."""
    assert exact.bound == "exact"
    short = best - exact.pointwise
    assert short.min() > -1e-7  # the best was found by a search, too, which stops at a tolerance
    errors = [e.mean + 4 * e.se for e in found.optimisation.values()]
    assert short.mean() < max(errors)
    z = (found.best.pointwise - exact.pointwise) / (found.best.pointwise_se + 1e-9)
    assert_mean(z, torch.zeros(()))


def posterior(pair, x):
    """Mean and precision of a linear Gaussian pair's posterior."""
    precision = torch.eye(len(pair.map)) + pair.map @ pair.map.T / pair.noise**2
    return (x - pair.offset) @ pair.map.T / pair.noise**2 @ torch.linalg.inv(precision), precision


def test_the_best_independent_normals_of_a_linear_gaussian_model():
    """They have the posterior's mean and the inverse of its precision's diagonal as variances."""
    pair = LinearGaussian(3, 5)
    _, x = pair.simulate(60)
    _, precision = posterior(pair, x)
    family_gap = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))
    found = optimal_member(pair.model, pair.guide, x, restarts=2, steps=300)
    exact = valued(pair.model, found, Latent("z", "normal", torch.Size([3])))(x)
    falls_short(found, exact, pair.evidence(x) - family_gap)
    closed = split_gap(pair.model, pair.guide, x)
    assert (closed.family_gap.bound, closed.amortisation_gap.bound) == ("exact", "exact")
    torch.testing.assert_close(closed.family_gap.pointwise, family_gap.expand(60))
    gap = split_gap(pair.model, pair.guide, x, method="ascent", restarts=1, steps=20)
    assert (gap.evidence.bound, gap.elbo.bound) == ("exact", "exact")
    assert (gap.family_gap.bound, gap.amortisation_gap.bound) == ("upper", "lower")
    total = gap.family_gap.pointwise + gap.amortisation_gap.pointwise
    torch.testing.assert_close(total, pair.evidence(x) - gap.elbo.pointwise)


def test_full_covariance_leaves_no_family_gap():
    pair = LinearGaussian(2, 3)
    _, x = pair.simulate(40)
    q = Full(pair.model, x, layers=1, width=8)
    found = optimal_member(pair.model, q, x, restarts=2, draws=2000, steps=300)
    exact = valued(pair.model, found, Latent("z", "multivariate normal", torch.Size([2])))(x)
    falls_short(found, exact, pair.evidence(x))
    assert found.evidence.se < 2e-3  # nearly constant weights
    assert abs(found.evidence.mean - pair.evidence(x).mean()) < 4 * found.evidence.se
    torch.testing.assert_close(split_gap(pair.model, q, x).family_gap.pointwise, torch.zeros(40))


def test_the_best_independent_bits():
    pair, x = BitsOfPoints(5), torch.randn(40, 3)
    exact = split_gap(pair.model, pair.guide, x)
    found = optimal_member(pair.model, pair.guide, x, steps=200)
    falls_short(found, valued(pair.model, found, Latent("z", "Bernoulli", torch.Size([5])))(x), exact.best.pointwise)
    assert found.optimisation.keys() == {
        "gain in last half of steps",
        "best minus second-best start",
    }


def test_documents_ascend_in_blocks(monkeypatch):
    monkeypatch.setattr("ppl_vae.diagnostics.gap.gradient_ascent.DATA", 7)
    x, ticks = documents(16, 9), []
    model = Text(9, bits=4, hidden=1, width=8)
    guide = LinearCounts(model, x)
    exact = split_gap(model, guide, x)
    found = split_gap(model, guide, x, method="ascent", steps=100, progress=ticks.append)
    torch.testing.assert_close(found.evidence.pointwise, exact.evidence.pointwise)
    errors = [e.mean + 4 * e.se for e in found.optimisation.values()]
    assert -4 * found.best.se < found.family_gap.mean - exact.family_gap.mean < max(errors) + 4 * found.best.se
    assert sum(ticks) == len(x)
    assert "best minus second-best start" in str(found)


class Mixed(pyro.nn.PyroModule):
    """A normal, a categorical, a one-hot categorical and two bits explain a point."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(9, 4)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            k = pyro.sample("k", dist.Categorical(logits=torch.zeros(3)))
            o = pyro.sample("o", dist.OneHotCategorical(logits=torch.zeros(3)))
            b = pyro.sample("b", dist.Bernoulli(0.4 * torch.ones(2)).to_event(1))
            k = torch.nn.functional.one_hot(k.long(), 3).to(x.dtype)
            parts = [a[..., None], k, o, b]
            lead = torch.broadcast_shapes(*(p.shape[:-1] for p in parts))
            z = torch.cat([p.expand(*lead, -1) for p in parts], -1)
            pyro.sample("x", dist.Normal(2 * self.net(z), 1.0).to_event(1), obs=x)


def test_sites_of_all_families_together():
    x, model = torch.randn(12, 4), Mixed()
    guide = MeanField(model, x, layers=1, width=4)
    gap = split_gap(model, guide, x, steps=100, restarts=2)
    assert gap.family == "independent latents, a normal, b Bernoulli, k categorical, o one-hot categorical"
    assert (gap.evidence.bound, gap.family_gap.bound) == ("exact", "upper")
    assert gap.family_gap.figure.startswith("<= ")
    assert gap.amortisation_gap.mean > 10 * gap.amortisation_gap.se
    assert gap.family_gap.mean > -4 * gap.family_gap.se


@pytest.mark.parametrize("kind", ["categorical", "one-hot"])
def test_the_best_categorical_is_the_posterior(kind):
    table = torch.randn(5, 3)

    def model(x):
        with pyro.plate("data", len(x)):
            if kind == "categorical":
                centre = table[pyro.sample("k", dist.Categorical(logits=torch.zeros(5)))]
            else:
                centre = pyro.sample("k", dist.OneHotCategorical(logits=torch.zeros(5))) @ table
            pyro.sample("x", dist.Normal(centre, 1.0).to_event(1), obs=x)

    x = torch.randn(20, 3)
    guide = MeanField(model, x, layers=1, width=4)
    found = optimal_member(model, guide, x, restarts=2, steps=200)
    exact = valued(model, found, guide.latents[0])(x)
    assert exact.bound == "exact"
    assert (measure(model, guide, x).evidence.mean - exact.mean) < max(
        e.mean + 4 * e.se for e in found.optimisation.values()
    )


def test_no_member_is_better_than_a_perfect_guide():
    """Of ends that few steps leave a little worse, noise chooses none."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    torch.manual_seed(0)
    x = torch.randn(50) * 2**0.5
    found = optimal_member(model, guide, x, steps=20, draws=50, restarts=2)
    exact = dist.Normal(0.0, 2**0.5).log_prob(x)
    assert ((found.best.pointwise - exact).abs() < 1e-9).double().mean() > 0.9  # constant weights: the guide's own


def test_the_guides_own_output_is_kept_where_the_ascents_go_astray():
    pair = LinearGaussian(2, 3)
    pair.map = 3 * torch.eye(2, 3)  # the posterior factorises
    _, x = pair.simulate(20)

    def guide(x):
        mean, precision = posterior(pair, x)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(mean, precision.diagonal() ** -0.5).to_event(1))

    found = optimal_member(pair.model, guide, x, steps=4, rate=50.0)
    torch.testing.assert_close(found.best.pointwise, pair.evidence(x))


def test_neither_model_nor_guide_is_changed():
    pair, x = LinearGaussian(2, 3), torch.randn(4, 3)
    scale = nn.Parameter(torch.ones(()))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), scale).to_event(1))
            pyro.sample("x", dist.Normal(z @ pair.map, pair.noise).to_event(1), obs=x)

    guide = MeanField(pair.model, x)
    guide.train()
    before = [p.clone() for p in guide.parameters()]
    optimal_member(model, guide, x, steps=4, draws=2)
    assert scale.grad is None
    assert guide.training
    assert all(p.grad is None and p.requires_grad for p in guide.parameters())
    assert all(map(torch.equal, before, guide.parameters()))


@pytest.mark.parametrize(
    "fn",
    [
        dist.Normal(torch.randn(4, 2, 3), torch.rand(4, 2, 3)).to_event(2),
        dist.Normal(torch.randn(4), 0.5),
        dist.Bernoulli(logits=torch.randn(4, 3)).to_event(1),
        dist.Categorical(logits=torch.randn(4, 2, 3)).to_event(1),
        dist.OneHotCategorical(logits=torch.randn(4, 3)),
        dist.MultivariateNormal(torch.randn(4, 3), scale_tril=torch.eye(3) + torch.randn(4, 3, 3).tril(-1)),
    ],
    ids=lambda fn: type(fn).__name__,
)
def test_parameters_make_the_distribution_they_were_read_off(fn):
    latent = Latent.of("z", fn)
    part = parameters_of(latent, fn)
    assert part.shape == (4, parameter_count(latent))
    value = fn.sample((5,))
    torch.testing.assert_close(independent(latent, part).log_prob(value), fn.log_prob(value))


def test_the_direction_of_a_difference_follows_from_both():
    def made(bound, se=None):
        return Estimate(torch.ones(2), bound, bound, 1, None if se is None else torch.full((2,), se))

    def between(high, low):
        return made(high).minus(made(low)).bound

    assert between("exact", "exact") == "exact"
    assert between("exact", "lower") == between("unbiased", "lower") == between("upper", "lower") == "upper"
    assert between("lower", "exact") == between("lower", "unbiased") == between("lower", "upper") == "lower"
    assert between("lower", "lower") == between("upper", "upper") == "between"
    assert between("approximate", "lower") == "approximate"
    assert between("exact", "unbiased") == "unbiased"
    torch.testing.assert_close(made("exact", 3.0).minus(made("exact", 4.0)).pointwise_se, torch.full((2,), 5.0))


def test_negative_gaps_are_remarked_on():
    low, high = (Estimate(torch.full((3,), v), "x", "lower") for v in (-5.0, -4.0))
    assert "the family gap is negative" in Gap(low, high, low, "f").warnings[0]
    assert "the amortisation gap is negative" in Gap(high, low, high, "f").warnings[0]


def test_what_has_no_known_family_is_named():
    def mixed(x, observed=True):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            both = dist.Normal(torch.stack([a, -a], -1), 1.0)
            pyro.sample("b", dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), both))
            if observed:
                pyro.sample("x", dist.Normal(0.0, 1.0).expand([3]).to_event(1), obs=x)

    x = torch.randn(4, 3)
    with pytest.raises(ValueError, match="site 'b' of the guide, MixtureSameFamily, is none of .*; use evidence"):
        split_gap(mixed, partial(mixed, observed=False), x)
    documented = documents(4, 9)
    model = Text(9, bits=14)
    # Bits that depend on all before them, beyond enumeration: the outputs of the encoder are searched.
    long = split_gap(model, Full(model, documented, layers=1, width=8), documented, most_bits=8, steps=4, restarts=1)
    assert long.family.endswith("its encoder's outputs free for each datum, its other networks fixed")
    with pytest.raises(ValueError, match="steps must be at least 4, got 1"):
        optimal_member(model, LinearCounts(model, documented), documented, steps=1)
    with pytest.raises(ValueError, match="unknown method 'guess'; choose from auto, enumeration, ascent"):
        split_gap(model, model, documented, method="guess")


def test_more_data_than_are_sampled_together_ascend_in_blocks():
    model, guide, _ = text_pair()
    x = documents(300, 11)
    gap = split_gap(model, guide, x, method="ascent", steps=8, restarts=1, draws=50, check=0)
    assert gap.evidence.bound == "exact"
    assert len(gap.best.pointwise) == 300
    left = gap.evidence.pointwise - gap.best.pointwise
    assert (left > -5 * gap.best.pointwise_se - 1e-4).all()
    assert left.mean() < (gap.evidence.pointwise - gap.elbo.pointwise).mean()

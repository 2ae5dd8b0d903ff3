import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text

from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.distributions.bits import AutoregressiveBits, JointBits
from tests.support.exponential_pairs import (
    TIGHT,
    bits,
    diagonal,
    full_covariance,
    linear_gaussian,
    orthogonal,
    pair,
    rbm,
    square,
    tight_text,
)
from tests.support.small_pairs import documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


TIGHT_PAIRS = {
    "linear Gaussian, full covariance": lambda: (
        torch.randn(20, 5),
        linear_gaussian(torch.randn(5, 2), full_covariance),
    ),
    "orthogonal Gaussian, diagonal": lambda: (torch.randn(20, 5), linear_gaussian(orthogonal(), diagonal)),
    "restricted Boltzmann machine": lambda: (
        torch.rand(20, 6).round(),
        pair(*rbm(torch.randn(6, 3), torch.randn(6), torch.randn(3)), bits(3)),
    ),
    "square in Gray order": lambda: (torch.randn(20, 2), square("gray")[1]),
    "square, any distribution": lambda: (
        torch.randn(20, 2),
        (square("around")[1][0], pair(None, None, lambda x: JointBits(x @ torch.ones(2, 4)))[1]),
    ),
    "documents of one length": lambda: tight_text([20] * 15),
    "Poisson with a gamma rate": lambda: (
        torch.poisson(3 * torch.ones(20)),
        pair(dist.Gamma(2.0, 1.0), lambda z, x: dist.Poisson(z), lambda x: dist.Gamma(x + 2, 2.0)),
    ),
    "categorical": lambda: (
        torch.randn(20),
        pair(
            dist.Categorical(torch.tensor([0.2, 0.3, 0.5])),
            lambda z, x: dist.Normal(torch.tensor([0.0, 1.0, 3.0])[z], torch.tensor([1.0, 0.5, 2.0])[z]),
            lambda x: dist.Categorical(logits=torch.zeros(len(x), 3)),
        ),
    ),
}


@pytest.mark.parametrize("make", TIGHT_PAIRS.values(), ids=TIGHT_PAIRS)
def test_tight_pairs_are_tight(make):
    x, (model, guide) = make()
    found = tightness(model, guide, x)
    assert found.verdict == TIGHT
    assert found.status == "tight"
    assert not found.warnings
    assert max(left.deviation for left in found.affine.values()) < 1e-10
    assert all(values.isfinite().all() for values in found.pointwise().values())


OUTSIDE = {
    "diagonal for a turned Gaussian": lambda: (torch.randn(20, 5), linear_gaussian(torch.randn(5, 2), diagonal)),
    "square in natural order": lambda: (torch.randn(20, 2), square("around")[1]),
    "documents of other lengths": lambda: tight_text([5] * 8 + [40] * 8),
    "text with a deep decoder": lambda: (lambda x, m: (x, (m, LinearCounts(m, x))))(
        documents(12, 9), Text(9, bits=4, hidden=1, width=8)
    ),
}


@pytest.mark.parametrize("make", OUTSIDE.values(), ids=OUTSIDE)
def test_their_perturbations_are_not(make):
    x, (model, guide) = make()
    found = tightness(model, guide, x)
    assert found.status == "outside"
    assert "outside the family" in found.verdict
    for law, left in found.affine.items():
        assert 0 < left.share < 1
        assert found.linear[law].residual.mean() > 0.9 * left.residual.mean()


def test_a_square_in_natural_order_loses_what_is_known():
    """The family gap of side 2, sigma 1 is 0.117 nats on data of the model (by quadrature)."""
    centres, (model, guide) = square("around")
    x = centres[torch.randint(4, (4000,))] + torch.randn(4000, 2)
    gap = tightness(model, guide, x).gap.family_gap.pointwise
    line = torch.linspace(-6, 6, 120) + 0.003  # on an axis of symmetry coordinate ascent would stay on a saddle
    grid = torch.cartesian_prod(line, line)
    density = torch.distributions.MultivariateNormal(centres, torch.eye(2)).log_prob(grid[:, None]).exp().mean(1)
    truth = (split_gap(model, guide, grid).family_gap.pointwise * density).sum() / density.sum()
    assert truth.item() == pytest.approx(0.117, abs=5e-4)
    assert_mean(gap, truth)


def test_the_fitted_weights_are_those_of_the_machine():
    weight, u, v = torch.randn(6, 3), torch.randn(6), torch.randn(3)
    model, guide = pair(*rbm(weight, u, v), bits(3))
    for most_bits in (16, 1):
        found = tightness(model, guide, torch.rand(20, 6).round(), most_bits=most_bits)
        for law in ("guide", "prior"):
            torch.testing.assert_close(found.guides[law].weights["x"], weight)
            torch.testing.assert_close(found.guides[law].bias, v)


def test_several_latents_and_observations():
    """Two latent sites and two observed ones lie side by side; one interaction puts the pair outside."""

    def make(together):
        def model(x):
            with pyro.plate("data", len(x)):
                a = pyro.sample("a", dist.Normal(0.0, 1.0))
                b = pyro.sample("b", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
                pyro.sample("u", dist.Normal(a, 1.0), obs=x[:, 0])
                pyro.sample("v", dist.Normal(b.sum(-1) * 2 + together * a, 1.0), obs=x[:, 1])

        return model

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Bernoulli(logits=x[:, :2]).to_event(1))
            pyro.sample("a", dist.Normal(x[:, 0] / 2, 0.7))

    x = torch.randn(20, 2)
    apart = tightness(make(0.0), guide, x)
    # (b1 + b2)^2 has the product of two bits.
    assert apart.status == "outside"
    assert apart.count == 4
    assert set(apart.guides["guide"].weights) == {"u", "v"}

    def only_sum(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(x[:, 0] / 2, 0.7))
            pyro.sample("b", dist.Bernoulli(logits=x[:, :1]).to_event(1))

    def one_bit(together):
        def model(x):
            with pyro.plate("data", len(x)):
                a = pyro.sample("a", dist.Normal(0.0, 1.0))
                b = pyro.sample("b", dist.Bernoulli(0.5 * torch.ones(1)).to_event(1))
                pyro.sample("u", dist.Normal(a, 1.0), obs=x[:, 0])
                pyro.sample("v", dist.Normal(2 * b[..., 0] + together * a, 1.0), obs=x[:, 1])

        return model

    assert tightness(one_bit(0.0), only_sum, x).verdict == TIGHT
    assert tightness(one_bit(0.5), only_sum, x).status == "outside"


def test_in_the_family_but_beyond_linear_guides():
    """One bit has only one family, but with heavy tails the log-odds are not linear in x."""
    prior = dist.Bernoulli(torch.tensor(0.5))
    student = lambda z, x: dist.StudentT(2.0, 3 * z, 1.0)  # noqa: E731
    model, guide = pair(prior, student, lambda x: dist.Bernoulli(logits=x))
    found = tightness(model, guide, 2 * torch.randn(200))
    assert found.status == "not linear"
    assert "in the family, but no linear guide reaches it" in found.verdict
    assert "the statistics of the observed site 'x', StudentT, are not known" in found.why
    few = tightness(model, guide, torch.randn(5))
    assert few.status == "in the family"
    assert "5 data are too few to fit 2 numbers per coefficient" in few.verdict


def test_a_linear_guide_is_found_by_regression_where_the_observation_is_hidden():
    """A normal observation under a mask is none this package knows, but log-odds stay linear in x."""
    model, guide = pair(
        dist.Bernoulli(torch.tensor(0.4)),
        lambda z, x: dist.Normal(3 * z, 1.0).mask(torch.tensor(True)),
        lambda x: dist.Bernoulli(logits=x),
    )
    found = tightness(model, guide, torch.randn(40))
    assert found.verdict == TIGHT
    torch.testing.assert_close(found.guides["guide"].weights["x"], torch.tensor([[3.0]]))
    torch.testing.assert_close(found.guides["guide"].bias, torch.tensor([math.log(0.4 / 0.6) - 4.5]))


def test_decoders_that_read_x_are_noticed():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.5)))
            pyro.sample(
                "x", dist.Normal(z[..., None] + torch.stack([0 * x[:, 0], x[:, 0]], -1), 1.0).to_event(1), obs=x
            )

    found = tightness(model, pair(None, None, lambda x: dist.Bernoulli(logits=x[:, 0]))[1], torch.randn(50, 2))
    assert "the parameters of the observation depend on x itself" in found.why
    assert found.verdict == TIGHT  # by regression: the log-odds are linear


def test_families_of_every_distribution_need_no_regression():
    x = documents(12, 9)
    for count in (4, 9):
        model = Text(9, bits=count, hidden=1, width=8)
        found = tightness(model, Full(model, x), x)
        assert found.verdict == TIGHT
        assert found.affine["prior"].variance.min() > 0
    # Longer codes from an autoregressive guide, by draws.
    model = Text(9, bits=14, hidden=1, width=8)
    guide = Full(model, x)
    with torch.no_grad():
        assert isinstance(pyro.poutine.trace(guide).get_trace(x).nodes["z"]["fn"], AutoregressiveBits)
    assert tightness(model, guide, x, most_bits=2).verdict == TIGHT

"""The best member of a guide's own structure, against posteriors in closed form and by enumeration in NumPy."""

from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from ppl_vae.diagnostics.gap.corrected import corrected_family
from ppl_vae.diagnostics.gap.ladder import ladder
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.distributions.free_parameters import free_parameters, has_free_parameters, with_parameters
from ppl_vae.distributions.mapped import MappedNormal
from ppl_vae.programs.log_weight import log_proposal

pytestmark = pytest.mark.usefixtures("float64")

X = torch.tensor([-1.2, 0.3, 2.0], dtype=torch.float64)
FEW = {"restarts": 2, "draws": 400, "steps": 300}


def falls_short(gap, exact, most):
    """The best member found is below the exact bound, by at most so much, but for the error of its draws."""
    errors, noise = gap.best.pointwise.numpy() - exact, 4 * gap.best.pointwise_se.numpy() + 1e-3
    assert (errors < noise).all()
    assert (errors > -most - noise).all()


def chain(x):
    with pyro.plate("data", len(x)):
        z1 = pyro.sample("z1", dist.Normal(0.0, 1.0))
        z2 = pyro.sample("z2", dist.Normal(z1, 1.0))
        pyro.sample("x", dist.Normal(z2, 0.5), obs=x)


def chain_guide(coupling):
    def guide(x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(0.3 * x, 0.8))
            pyro.sample("z2", dist.Normal(coupling * z1 + 0.3 * x, 0.6))

    return guide


def test_the_posterior_of_a_chain_is_in_the_structure_of_its_guide():
    """It is q(z1|x) q(z2|z1, x) with means affine in what they are given: no family gap but the search's error."""
    gap = split_gap(chain, chain_guide(0.4), X, **FEW)
    exact = stats.norm(0, 1.5).logpdf(X.numpy())
    np.testing.assert_allclose(gap.evidence.pointwise.numpy(), exact, atol=1e-9)
    falls_short(gap, exact, 0.02)
    assert gap.best.bound == "lower"
    assert gap.family_gap.bound == "upper"
    assert gap.amortisation_gap.mean > 0.2
    assert gap.family == "the guide's own structure, corrected for each datum: z1 normal, z2 normal given others"


def test_without_the_coupling_the_best_member_is_the_best_independent_one():
    """Whose gap is half the log of the ratio of the variances: the precisions' diagonals against the covariance."""
    precision = np.array([[2.0, -1.0], [-1.0, 5.0]])  # of z1 and z2 given x
    loss = 0.5 * (np.log(np.diag(precision)).sum() - np.log(np.linalg.det(precision)))
    gap = split_gap(chain, chain_guide(0.0), X, **FEW)
    falls_short(gap, stats.norm(0, 1.5).logpdf(X.numpy()) - loss, 0.02)


@pytest.mark.parametrize("over_data", [-1, -2])
def test_corrections_follow_the_plates_inside_that_of_the_data(over_data):
    """Two chains for each datum, in a plate left or right of it: each datum's parameters are its own."""

    def guide(x):
        x = x.T if over_data == -1 else x
        with pyro.plate("data", x.shape[over_data], dim=over_data), pyro.plate("chains", 2, dim=-3 - over_data):
            z1 = pyro.sample("z1", dist.Normal(0.3 * x, 0.8))
            pyro.sample("z2", dist.Normal(0.4 * z1 + 0.3 * x, 0.6))

    x, c = torch.stack([X, 1 - X], -1), torch.tensor([-0.3, 0.1, 0.4])[:, None]
    family = corrected_family(guide, x)
    assert family.count == 3 * 2 * 2  # mean and scale of two chains: shifts of both sites, factors of the second
    z1, z2 = torch.randn(5, 3, 2), torch.randn(5, 3, 2)
    found = log_proposal(family.program(c.expand(-1, family.count)), x, {"z1": z1, "z2": z2})
    x, c, z1, z2 = (each.numpy() for each in (x, c, z1, z2))
    first = stats.norm(0.3 * x + c, 0.8 * np.exp(c)).logpdf(z1)
    scale = np.exp(np.exp(c) * np.log(0.6) + c)
    second = stats.norm(np.exp(c) * (0.4 * z1 + 0.3 * x) + c, scale).logpdf(z2)
    np.testing.assert_allclose(found.detach().numpy(), (first + second).sum(-1), atol=1e-9)


def bits(x):
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.Bernoulli(0.3))
        b = pyro.sample("b", dist.Bernoulli(0.2 + 0.6 * a))
        pyro.sample("x", dist.Normal(a + b, 0.5), obs=x)


def test_chained_bits_hold_every_distribution_of_the_two():
    """The gradients are those of scores; the evidence is enumerated."""

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(logits=x))
            pyro.sample("b", dist.Bernoulli(logits=x - 2 * a + 1))

    gap = split_gap(bits, guide, X, **FEW)
    terms = [
        stats.bernoulli.logpmf(a, 0.3) + stats.bernoulli.logpmf(b, 0.2 + 0.6 * a) + stats.norm(a + b, 0.5).logpdf(X)
        for a, b in product((0, 1), repeat=2)
    ]
    exact = logsumexp(terms, 0)
    np.testing.assert_allclose(gap.evidence.pointwise.numpy(), exact, atol=1e-9)
    falls_short(gap, exact, 0.02)
    assert gap.amortisation_gap.mean > 0.2


def test_the_posterior_of_a_rate_is_found_in_the_guide_s_family():
    def model(x):
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
            pyro.sample("x", dist.Poisson(rate), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.Gamma(3.0 + 0 * x, 1.0))

    x = torch.tensor([0.0, 2.0, 5.0])
    gap = split_gap(model, guide, x, **FEW)
    falls_short(gap, stats.nbinom(2, 0.5).logpmf(x.numpy()), 0.02)
    assert gap.family == "independent latents, Gamma"


def test_guides_of_one_structure_do_not_share_best_members():
    """Each has corrections of its own output: the posterior is out of reach without a coupling to be scaled."""
    guides = {"weak": chain_guide(1e-9), "strong": chain_guide(0.4)}
    found = ladder(chain, guides, X, **FEW)
    best = {name: rung.best.mean for name, rung in found.rungs.items() if rung.best is not None}
    assert best["strong"] > best["weak"] + 0.02


FAMILIES = {
    "Gamma": lambda: dist.Gamma(torch.rand(4, 3) + 1, torch.rand(3) + 1).to_event(1),
    "Beta": lambda: dist.Beta(torch.rand(4) + 1, 2.0),
    "Dirichlet": lambda: dist.Dirichlet(torch.rand(4, 3) + 1),
    "Categorical": lambda: dist.Categorical(torch.rand(4, 3)),
    "Binomial": lambda: dist.Binomial(5, torch.rand(4)),
    "NegativeBinomial": lambda: dist.NegativeBinomial(torch.rand(4, 1) + 1, torch.rand(4, 2)).to_event(1),
    "StudentT": lambda: dist.StudentT(4.0, torch.randn(4), 1.0),
    "VonMises": lambda: dist.VonMises(torch.randn(4), 2.0),
    "MultivariateNormal": lambda: dist.MultivariateNormal(torch.randn(4, 2), torch.eye(2) + 0.5),
    "LowRank": lambda: dist.LowRankMultivariateNormal(torch.randn(4, 3), torch.randn(3, 1), torch.ones(3)),
    "mapped normals": lambda: MappedNormal(torch.randn(4, 2), torch.ones(4, 2), dist.constraints.simplex),
    "expanded": lambda: dist.Normal(0.0, 2.0).expand([4, 3]).to_event(1),
}


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_free_parameters_make_the_distribution_they_were_read_off(make):
    fn = make()
    assert has_free_parameters(fn)
    numbers = free_parameters(fn)
    assert numbers.shape[:-1] == fn.batch_shape
    again, value = with_parameters(fn, numbers), fn.sample()
    assert again.event_shape == fn.event_shape
    torch.testing.assert_close(again.log_prob(value), fn.log_prob(value))
    moved = with_parameters(fn, numbers.expand(2, *numbers.shape) + 0.3 * torch.arange(1, numbers.shape[-1] + 1))
    assert moved.batch_shape == (2, *fn.batch_shape)
    assert not torch.allclose(moved.log_prob(value), fn.log_prob(value))


def test_other_distributions_have_none():
    transform = dist.transforms.ReshapeTransform(torch.Size([4]), torch.Size([2, 2]))
    normal = dist.MultivariateNormal(torch.zeros(4), torch.eye(4))
    for fn in (dist.Uniform(0.0, 1.0), dist.Delta(torch.zeros(3)), dist.TransformedDistribution(normal, [transform])):
        assert not has_free_parameters(fn)

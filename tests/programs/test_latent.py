"""Guides of latents of every family, against sums and integrals by NumPy and SciPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.mean_field import MeanField
from scipy import integrate, stats
from torch import nn

from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.estimators.loo import ReinforceLOO
from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.latent import Latent
from ppl_vae.programs.log_weight import log_proposal
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

WHOLE = np.arange(400.0)

COUNTS: dict[str, tuple[Callable[[], Any], Any]] = {
    "Poisson": (lambda: dist.Poisson(3.0), stats.poisson(3)),
    "Geometric": (lambda: dist.Geometric(0.3), stats.nbinom(1, 0.3)),
    "NegativeBinomial": (lambda: dist.NegativeBinomial(3.0, 0.4), stats.nbinom(3, 0.6)),
    "GammaPoisson": (lambda: dist.GammaPoisson(2.0, 1.0), stats.nbinom(2, 0.5)),
    "Binomial": (lambda: dist.Binomial(5, 0.4), stats.binom(5, 0.4)),
    "BetaBinomial": (lambda: dist.BetaBinomial(2.0, 3.0, 5), stats.betabinom(5, 2, 3)),
}

NUMBERS: dict[str, tuple[Callable[[], Any], Any]] = {
    "Beta": (lambda: dist.Beta(2.0, 3.0), stats.beta(2, 3)),
    "Gamma": (lambda: dist.Gamma(2.0, 1.0), stats.gamma(2)),
    "LogNormal": (lambda: dist.LogNormal(0.2, 0.5), stats.lognorm(0.5, scale=np.exp(0.2))),
    "Exponential": (lambda: dist.Exponential(1.0), stats.expon()),
    "HalfNormal": (lambda: dist.HalfNormal(1.0), stats.halfnorm()),
    "HalfCauchy": (lambda: dist.HalfCauchy(1.0), stats.halfcauchy()),
    "Uniform": (lambda: dist.Uniform(-1.0, 2.0), stats.uniform(-1, 3)),
    "Pareto": (lambda: dist.Pareto(1.0, 3.0), stats.pareto(3)),
    "VonMises": (lambda: dist.VonMises(0.5, 2.0), stats.vonmises(2, 0.5)),
    "StudentT": (lambda: dist.StudentT(3.0), stats.t(3)),
    "Laplace": (lambda: dist.Laplace(0.0, 1.0), stats.laplace()),
    "Cauchy": (lambda: dist.Cauchy(0.0, 1.0), stats.cauchy()),
    "InverseGamma": (lambda: dist.InverseGamma(3.0, 2.0), stats.invgamma(3, scale=2)),
    "RelaxedBernoulli": (
        lambda: dist.RelaxedBernoulli(torch.tensor(1.0), logits=torch.tensor(0.7)),
        # At temperature one the logit is that of a uniform number, shifted.
        stats.rv_histogram((np.ones(1), np.array([0.0, 1.0]))),
    ),
}


def density(name: str, prior: Any) -> Callable[[Any], Any]:
    if name == "RelaxedBernoulli":
        odds = np.exp(0.7)  # of Maddison, Mnih and Teh (2017), eq. 21, at temperature one
        return lambda v: odds / (odds * (1 - v) + v) ** 2
    return prior.pdf


X = torch.tensor([-0.3, 0.8, 1.7], dtype=torch.float64)


def bump(x: Any, v: Any) -> Any:
    return np.exp(-(((x - v) / 0.8) ** 2) / 2) / (0.8 * np.sqrt(2 * np.pi))


def model_of(prior: Callable[[], Any]) -> Callable[[Any], None]:
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior())
            pyro.sample("x", dist.Normal(z.sum(-1) if prior().event_shape else z, 0.8), obs=x)

    return model


def fixed_guide(model: Any, x: Any, parameters: Any) -> MeanField:
    """A mean-field guide that gives all data the same parameters."""

    class Constant(nn.Module):
        def forward(self, x):
            return torch.as_tensor(parameters).expand(len(x), -1)

    guide = MeanField(model, x, layers=0)
    guide.encoder = Constant()
    return guide


def evidence(name: str) -> np.ndarray:
    if name in COUNTS:
        return np.array([np.log((COUNTS[name][1].pmf(WHOLE) * bump(x, WHOLE)).sum()) for x in X.tolist()])
    prior = NUMBERS[name][1]
    low, high = (-np.pi, np.pi) if name == "VonMises" else prior.support()
    pdf = density(name, prior)
    low, high = max(low, -9.0), min(high, 12.0)  # the likelihood is below 1e-23 beyond
    return np.array([np.log(integrate.quad(lambda v, x=x: pdf(v) * bump(x, v), low, high)[0]) for x in X.tolist()])


PARAMETERS = {"NegativeBinomial": [1.0, -0.5], "GammaPoisson": [1.0, -0.5], "VonMises": [1.0, 0.3], "Poisson": [1.0]}


@pytest.mark.parametrize("name", [*COUNTS, *NUMBERS])
def test_importance_from_mean_field_is_the_evidence(name):
    model = model_of((COUNTS | NUMBERS)[name][0])
    few = 1 if name in ("Geometric", "Binomial", "BetaBinomial") else 2
    guide = fixed_guide(model, X, PARAMETERS.get(name, [0.0] * few))
    draws = latents(run(guide, (X,), {}, draws=200))["z"]
    support = (COUNTS | NUMBERS)[name][0]().support
    assert support.check(draws["value"]).all()
    result = measure(model, guide, X, method="importance", draws=20_000)
    errors = result.evidence.pointwise.numpy() - evidence(name)
    assert (np.abs(errors) < 5 * result.evidence.pointwise_se.numpy() + 1e-6).all()
    assert result.evidence.se < 0.02
    assert (result.elbo.pointwise < result.evidence.pointwise).all()


@pytest.mark.parametrize("name", ["Beta", "VonMises", "HalfCauchy", "Poisson", "NegativeBinomial"])
def test_densities_of_guides_add_up_to_one(name):
    """By a sum over whole numbers or an integral over the support."""
    model = model_of((COUNTS | NUMBERS)[name][0])
    guide = fixed_guide(model, X[:1], PARAMETERS.get(name, [0.3, -0.4]))

    def probability(v):
        return log_proposal(guide, X[:1], {"z": torch.as_tensor(v).reshape(-1, 1)}).exp().numpy()[:, 0]

    if name in COUNTS:
        assert abs(probability(WHOLE).sum() - 1) < 1e-9
    else:
        low, high = {"Beta": (1e-9, 1 - 1e-9), "VonMises": (-np.pi, np.pi), "HalfCauchy": (1e-9, 200)}[name]
        assert abs(integrate.quad(lambda v: float(probability(v)[0]), low, high, limit=200)[0] - 1) < 1e-5


def test_a_simplex_is_drawn_by_one_number_less():
    concentration = torch.tensor([1.5, 2.0, 3.0])

    def model(x):
        with pyro.plate("data", len(x)):
            p = pyro.sample("p", dist.Dirichlet(concentration))
            pyro.sample("x", dist.Categorical(p), obs=x)

    x = torch.tensor([0, 1, 2])
    guide = fixed_guide(model, x, torch.zeros(4))
    assert guide.latents[0].size == 2
    result = measure(model, guide, x, method="importance", draws=20_000)
    exact = np.log(concentration.numpy() / concentration.sum().item())
    assert (np.abs(result.evidence.pointwise.numpy() - exact) < 5 * result.evidence.pointwise_se.numpy()).all()


@pytest.mark.parametrize("name", ["Poisson", "NegativeBinomial", "Geometric"])
def test_scores_of_counts_give_the_gradient_of_the_summed_bound(name):
    """Of the parameters of the guide, against the slope of a sum over all counts by finite differences."""
    prior, oracle = COUNTS[name]
    model, x = model_of(prior), X[1:2]
    start = np.array(PARAMETERS.get(name, [0.2]))

    def log_q(v, parameters):
        p = 1 / (1 + np.exp(-parameters[-1]))
        if name == "Poisson":
            return stats.poisson(np.exp(parameters[0])).logpmf(v)
        return (
            stats.nbinom(1, p).logpmf(v)
            if name == "Geometric"
            else stats.nbinom(np.exp(parameters[0]), 1 - p).logpmf(v)
        )

    def bound(parameters):
        v = WHOLE[:200]
        logs = log_q(v, parameters)
        return (np.exp(logs) * (oracle.logpmf(v) + np.log(bump(x.item(), v) + 1e-300) - logs)).sum()

    steps = 1e-5 * np.eye(len(start))
    truth = [(bound(start + step) - bound(start - step)) / 2e-5 for step in steps]
    many = torch.tensor(start).repeat(4000, 1).requires_grad_()
    guide = fixed_guide(model, x, [0.0] * len(start))
    guide.encoder.forward = lambda x: many
    (-DiscreteELBO(ReinforceLOO(), draws=4).differentiable_loss(model, guide, x.expand(4000))).backward()
    assert_mean(many.grad, torch.tensor(truth))


@pytest.mark.parametrize("name", [*COUNTS, *NUMBERS])
def test_the_first_gradient_of_a_new_guide_is_finite(name):
    """In single precision, where the parameters of a guide start near zero."""
    torch.set_default_dtype(torch.float32)
    model = model_of((COUNTS | NUMBERS)[name][0])
    guide = MeanField(model, X.float(), width=4)
    DiscreteELBO(ReinforceLOO(), draws=4).differentiable_loss(model, guide, X.float()).backward()
    for parameter in guide.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_a_support_that_is_learned_or_differs_between_data_is_refused():
    top = nn.Parameter(torch.tensor(2.0))
    message = "the support of latent site 'z' is learned, or differs between data"
    for prior in (lambda: dist.Uniform(0.0, top.exp()), lambda: dist.Uniform(-1.0, 2.0 + X.abs())):
        with pytest.raises(ValueError, match=message):
            MeanField(model_of(prior), X)
    each = model_of(lambda: dist.Uniform(torch.zeros(2), torch.tensor([1.0, 3.0])).to_event(1))
    drawn = latents(run(MeanField(each, X), (X,), {}, draws=500))["z"]["value"]
    assert 1 < drawn[..., 1].max() < 3
    assert drawn[..., 0].max() < 1


def test_the_best_mapped_normal_is_found_and_its_statistics_are_known():
    """Where prior and likelihood are log-normal the posterior is one: no gap of the family, and a tight guide."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(0.3, 1.0))
            pyro.sample("x", dist.LogNormal(z.log(), 0.5), obs=x)

    x = torch.tensor([0.5, 2.0, 6.0])
    guide = fixed_guide(model, x, [0.5, -1.0])
    exact = stats.lognorm(1.25**0.5, scale=np.exp(0.3)).logpdf(x.numpy())
    gap = split_gap(model, guide, x, steps=200, restarts=1)
    np.testing.assert_allclose(gap.best.pointwise.numpy(), exact, atol=0.02)
    assert gap.amortisation_gap.mean > 0.1
    assert gap.family == "independent latents, normal mapped to the support"
    assert tightness(model, guide, x).status == "tight"


def test_a_guide_of_mapped_normals_reads_its_parameters_back():
    fn = dist.Gamma(torch.ones(1, 4, 2), 1.0).to_event(1)
    latent = Latent.drawn_by_guides("z", fn)
    assert (latent.family, latent.size) == ("normal", 2)
    assert latent.onto(dist.Normal(torch.zeros(4, 2), 1.0).to_event(1)).sample().min() > 0

"""Guides that draw a latent from a distribution of another kind or support are refused, naming the site."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.reparam import LocScaleReparam
from scipy import stats

from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.handlers import check_pair

pytestmark = pytest.mark.usefixtures("float64")

X = torch.tensor([0.6, 1.1, 1.4], dtype=torch.float64)


def pair(prior, proposal):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior())
            pyro.sample("x", dist.Normal(z.to(x.dtype), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", proposal(x))

    return model, guide


MISFITS = {
    "reals for positive numbers": (lambda: dist.Exponential(1.0), lambda x: dist.Normal(x, 1.0)),
    "reals for angles": (lambda: dist.VonMises(0.0, 1.0), lambda x: dist.Normal(x, 1.0)),
    "counts for reals": (lambda: dist.Normal(0.0, 1.0), lambda x: dist.Poisson(x)),
    "reals for counts": (lambda: dist.Poisson(1.0), lambda x: dist.Normal(x, 1.0)),
    "positive numbers for an interval": (lambda: dist.Beta(1.0, 2.0), lambda x: dist.Gamma(3 * x, 1.0)),
    "a longer interval": (lambda: dist.Uniform(0.0, 1.0), lambda x: dist.Uniform(0 * x, 2.0)),
    "more states": (
        lambda: dist.Categorical(torch.ones(3)),
        lambda x: dist.Categorical(torch.ones(len(x), 4)),
    ),
    "counts for bits": (lambda: dist.Bernoulli(0.5), lambda x: dist.Poisson(x)),
}


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("name", MISFITS)
def test_a_guide_of_another_support_is_refused(name, validate):
    model, guide = pair(*MISFITS[name])
    with pyro.validation_enabled(validate), pytest.raises(ValueError, match=r"latent site 'z' is \w+ in the model and"):
        measure(model, guide, X, method="importance", draws=200)
    if name == "more states":
        with pytest.raises(ValueError, match="draws values that the model does not have"):
            split_gap(model, guide, X)


@pytest.mark.parametrize(
    ("prior", "proposal", "truth"),
    [
        (
            lambda: dist.Normal(0.0, 1.0),
            lambda x: dist.StudentT(5.0, x / 2, 1.0),
            stats.norm(0, 2**0.5).logpdf(X.numpy()),
        ),
        (
            lambda: dist.Poisson(1.0),
            lambda x: dist.Geometric(0.5 + 0 * x),
            np.log((stats.poisson(1).pmf(np.arange(60)) * stats.norm(np.arange(60)).pdf(X.numpy()[:, None])).sum(1)),
        ),
    ],
    ids=["normal", "Poisson"],
)
def test_another_family_of_the_same_support_is_measured(prior, proposal, truth):
    evidence = measure(*pair(prior, proposal), X, method="importance", draws=20_000).evidence
    assert (np.abs(evidence.pointwise.numpy() - truth) < 5 * evidence.pointwise_se.numpy()).all()


def test_a_point_is_no_guide_of_a_density_but_may_be_one_of_bits():
    model, guide = pair(lambda: dist.Normal(0.0, 1.0), lambda x: dist.Delta(x))
    with pytest.raises(ValueError, match="latent site 'z' of the guide is a Delta"):
        measure(model, guide, X)
    # Training a point estimate keeps Pyro's meaning: minus log p(x, z) at the point.
    loss = DiscreteELBO(draws=1).loss(model, guide, X)
    assert abs(loss + (stats.norm.logpdf(X.numpy()) + stats.norm.logpdf(0.0)).sum()) < 1e-9
    result = measure(*pair(lambda: dist.Bernoulli(0.5), lambda x: dist.Delta((x > 1).to(x.dtype))), X)
    state = (X.numpy() > 1).astype(float)
    np.testing.assert_allclose(result.elbo.pointwise.numpy(), np.log(0.5) + stats.norm(state).logpdf(X.numpy()))


def test_a_point_in_the_model_is_no_latent():
    model, guide = pair(lambda: dist.Delta(torch.zeros(())), lambda x: dist.Delta(0 * x))
    refused = pytest.raises(ValueError, match="of the model is a Delta.*write pyro.deterministic")
    with refused:
        measure(model, guide, X)
    with refused:
        check_pair(model, guide, X)


def test_a_point_is_refused_before_training():
    with pytest.raises(ValueError, match="latent site 'z' of the guide is a Delta"):
        check_pair(*pair(lambda: dist.Normal(0.0, 1.0), lambda x: dist.Delta(x)), X)


def test_an_interval_that_is_stretched_is_no_line():
    def model(x):
        with pyro.plate("data", len(x)):
            phase = pyro.sample("phase", dist.Uniform(0.0, 6.0))
            pyro.sample("x", dist.Normal(phase, 1.0), obs=x)

    def guide(width):
        def program(x):
            with pyro.plate("data", len(x)):
                stretched = [dist.transforms.AffineTransform(0.0, width)]
                pyro.sample("phase", dist.TransformedDistribution(dist.Beta(2.0, 2.0), stretched))

        return program

    x, steps = torch.linspace(0, 6, 50), np.linspace(0, 6, 2001)
    torch.manual_seed(0)
    result = measure(model, guide(6.0), x, draws=1000, method="importance").evidence
    densities = stats.norm.pdf(x.numpy()[:, None], steps, 1).mean(1)
    assert abs(result.mean - np.log(densities).mean()) < 5 * result.se + 1e-3  # at most: the bound of 1000 draws
    with pytest.raises(ValueError, match="site 'phase' is Uniform .* the guide's draws lie outside the support"):
        measure(model, guide(60.0), x)


def test_a_program_whose_latents_are_reparametrised_is_measured():
    @poutine.reparam(config={"z": LocScaleReparam(0.0)})
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(2.0, 3.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z_decentered", dist.Normal(0.3 * (x - 2), 0.5))

    x = torch.linspace(-4, 8, 7)
    DiscreteELBO().loss(model, guide, x)
    result = measure(model, guide, x).evidence
    np.testing.assert_allclose(result.pointwise, stats.norm.logpdf(x.numpy(), 2, 10**0.5), atol=1e-5)

"""Plates as people write them: any name, nested, at any dimension, as Python loops; and networks that reshape."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.diagnostics.information.information import information
from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.evidence.ais import Schedule
from ppl_vae.evidence.bdmc import sandwich
from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.programs.simulate import simulate

pytestmark = pytest.mark.usefixtures("float64")

LATENTS, PIXELS = 2, 3
WEIGHT = np.random.default_rng(0).normal(size=(LATENTS, PIXELS))
SCALE = 0.7


def factors(layout):
    """Factor analysis, the pixels and the factors laid out in one of many ways."""
    weight = torch.tensor(WEIGHT)

    def latent(*shape):
        return pyro.sample("z", dist.Normal(torch.zeros(*shape, LATENTS), 1.0).to_event(1))

    def event(x):
        with pyro.plate("documents", len(x)):
            pyro.sample("x", dist.Normal(latent() @ weight, SCALE).to_event(1), obs=x)

    def right(x):
        with pyro.plate("batch", len(x), dim=-2):
            z = latent()
            with pyro.plate("pixels", PIXELS, dim=-1):
                pyro.sample("x", dist.Normal((z @ weight).squeeze(-2), SCALE), obs=x)

    def left(x):
        with pyro.plate("batch", len(x)):
            z = latent()
            with pyro.plate("pixels", PIXELS):
                loc = z @ weight
                loc = loc.squeeze(-3) if loc.ndim > 2 else loc  # the plates' other dimension
                pyro.sample("x", dist.Normal(loc.transpose(-1, -2), SCALE), obs=x.T)

    def reopened(x):
        with pyro.plate("data", len(x), dim=-1):
            z = latent()
        with pyro.plate("pixels", PIXELS, dim=-2), pyro.plate("data2", len(x), dim=-1):
            loc = z @ weight
            loc = loc.squeeze(-3) if loc.ndim > 2 else loc
            pyro.sample("x", dist.Normal(loc.transpose(-1, -2), SCALE), obs=x.T)

    def loop(x):
        with pyro.plate("rows", len(x)):
            loc = latent() @ weight
            for i in pyro.plate("pixels", PIXELS):
                pyro.sample(f"x_{i}", dist.Normal(loc[..., i], SCALE), obs=x[:, i])

    def nested_latents(x):
        with pyro.plate("batch", len(x), dim=-2):
            with pyro.plate("factors", LATENTS, dim=-1):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal((z @ weight).unsqueeze(-2), SCALE).to_event(1), obs=x[:, None])

    def subsample(x):
        with pyro.plate("rows", 1000, subsample_size=len(x)):
            pyro.sample("x", dist.Normal(latent() @ weight, SCALE).to_event(1), obs=x)

    def view(x):
        with pyro.plate("data", len(x)):
            loc = (latent(len(x)) @ weight).view(-1, 1, PIXELS)
            pyro.sample("x", dist.Normal(loc, SCALE).to_event(2), obs=x[:, None])

    def expand(x):
        with pyro.plate("batch", len(x)):
            z = latent(len(x)).expand(len(x), LATENTS)
            pyro.sample("x", dist.Normal(z @ weight, SCALE).to_event(1), obs=x)

    def silently_wrong(x):
        with pyro.plate("data", len(x)):
            loc = latent() @ weight
            loc = loc.transpose(0, 1).reshape(loc.shape) if loc.ndim == 3 else loc
            pyro.sample("x", dist.Normal(loc, SCALE).to_event(1), obs=x)

    return locals()[layout]


LAYOUTS = [
    "event", "right", "left", "reopened", "loop", "nested_latents", "subsample", "view", "expand", "silently_wrong",
]  # fmt: skip


def guide(x):
    precision = np.eye(LATENTS) + WEIGHT @ WEIGHT.T / SCALE**2
    mean = x @ torch.tensor(np.linalg.solve(precision, WEIGHT / SCALE**2).T)
    with pyro.plate("anything", len(x)):
        pyro.sample("z", dist.Normal(mean, 0.5).to_event(1))


def log_evidence(x):
    return multivariate_normal.logpdf(x.numpy(), np.zeros(PIXELS), WEIGHT.T @ WEIGHT + SCALE**2 * np.eye(PIXELS))


def log_densities(x, z):
    """log p(x, z), summed over pixels, by SciPy."""
    return norm.logpdf(x, z @ WEIGHT, SCALE).sum(-1) + norm.logpdf(z).sum(-1)


@pytest.mark.parametrize("layout", LAYOUTS)
class TestLayouts:
    def test_densities_are_those_of_each_datum(self, layout):
        x, z = torch.randn(4, PIXELS), torch.randn(5, 4, LATENTS)
        joint = log_joint(factors(layout), x, {"z": z})
        assert joint.shape == (5, 4)
        assert np.allclose(joint, log_densities(x.numpy(), z.numpy()))

    def test_sites_are_canonical_and_the_program_gets_its_own_values(self, layout):
        sites = run(factors(layout), (torch.randn(4, PIXELS),), {}, draws=5)
        (z,) = latents(sites).values()
        assert z["value"].shape == (5, 4, LATENTS) and z["fn"].batch_shape == (5, 4)
        for site in sites.values():
            assert [(f.name, f.dim) for f in site["cond_indep_stack"]][1:] == [("data", -1)]
            assert not site["is_observed"] or len(site["value"]) == 4  # without a dimension of samples

    @pytest.mark.parametrize("method", ["closed_form", "quadrature", "importance"])
    def test_evidence_is_the_marginal_density(self, layout, method):
        x = torch.randn(3, PIXELS)
        measured = measure(factors(layout), guide, x, method=method, draws=4000 if method == "importance" else None)
        error = 5 * measured.evidence.pointwise_se.numpy() if method == "importance" else 1e-3
        assert (np.abs(measured.evidence.pointwise.numpy() - log_evidence(x)) < error).all()

    def test_the_objective_is_the_same_in_every_layout(self, layout):
        if layout == "subsample":
            pytest.skip("Pyro scales the loss of a subsample")
        x = torch.randn(4, PIXELS)
        losses = []
        for model in (factors(layout), factors("event")):
            torch.manual_seed(3)
            losses.append(DiscreteELBO(draws=3).loss(model, guide, x))
        assert losses[0] == pytest.approx(losses[1])


@pytest.mark.parametrize("layout", ["right", "view"])
def test_diagnostics_are_those_of_the_same_model_written_canonically(layout):
    x = torch.randn(6, PIXELS)

    def tables(model):
        torch.manual_seed(0)
        split = split_gap(model, guide, x, steps=4)
        bounds = sandwich(model, guide, x, draws=4, schedule=Schedule(5))
        return [str(table) for table in (split, tightness(model, guide, x), information(model, guide, x), bounds)]

    assert tables(factors(layout)) == tables(factors("event"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_simulated_data_have_the_covariance_of_the_model(layout):
    if layout in ("left", "reopened", "loop"):
        pytest.skip("observes a function of x, or several")
    count = 4000
    _, x = simulate(factors(layout), torch.zeros(count, PIXELS))
    truth = WEIGHT.T @ WEIGHT + SCALE**2 * np.eye(PIXELS)
    spread = np.sqrt((np.outer(np.diag(truth), np.diag(truth)) + truth**2) / count)
    assert (np.abs(np.cov(x.numpy().T) - truth) < 5 * spread).all()

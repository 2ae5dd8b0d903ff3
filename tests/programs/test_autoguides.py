"""Pyro's autoguides on fixed data: measured where each datum has parameters of its own, else refused by name."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, autoguide
from scipy import stats

import ppl_vae as pv
from tests.support.small_pairs import number_with_noise

pytestmark = pytest.mark.usefixtures("float64")

X = torch.tensor([-1.0, 0.4, 2.5, 0.4], dtype=torch.float64)


linear = number_with_noise(0.5)


def rates(x):
    with pyro.plate("data", len(x)):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        pyro.sample("x", dist.Poisson(rate), obs=x)


def trained(kind, model, x, steps=1, loss=None):
    guide = kind(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), loss or Trace_ELBO())
    for _ in range(steps):
        svi.step(x)
    return guide


@pytest.mark.parametrize("kind", [autoguide.AutoNormal, autoguide.AutoDiagonalNormal])
def test_an_independent_autoguide_is_measured_on_its_data(kind):
    """With its own means and deviations: the ELBO of a normal in a linear Gaussian model is known."""
    guide = trained(kind, linear, X)
    if kind is autoguide.AutoNormal:
        loc, scale = guide.locs.z, guide.scales.z
    else:
        loc, scale = guide._loc_scale()
    loc, scale = loc.detach().numpy(), scale.detach().numpy()
    x = X.numpy()
    kl = 0.5 * (scale**2 + loc**2 - 1) - np.log(scale)
    elbo = stats.norm(loc, 0.5).logpdf(x) - scale**2 / (2 * 0.25) - kl
    result = pv.measure(linear, guide, X)
    np.testing.assert_allclose(result.elbo.pointwise.numpy(), elbo, atol=1e-9)
    np.testing.assert_allclose(result.evidence.pointwise.numpy(), stats.norm(0, 1.25**0.5).logpdf(x), atol=1e-9)
    few = pv.measure(linear, guide, X[[2, 0]])
    np.testing.assert_allclose(few.elbo.pointwise.numpy(), elbo[[2, 0]], atol=1e-9)


def test_positive_latents_are_mapped_and_ours_trains_it_too():
    """The best log-normal of each datum is found by the objective, so that the split finds nothing to amortise."""
    x = torch.tensor([0.0, 3.0, 6.0])
    guide = trained(autoguide.AutoNormal, rates, x, 400, pv.DiscreteELBO(draws=8))
    result = pv.measure(rates, guide, x, method="importance", draws=20_000)
    exact = stats.nbinom(2, 0.5).logpmf(x.numpy())
    assert (np.abs(result.evidence.pointwise.numpy() - exact) < 5 * result.evidence.pointwise_se.numpy() + 1e-4).all()
    gap = pv.split_gap(rates, guide, x, restarts=1, steps=300, draws=1000)
    assert abs(gap.amortisation_gap.mean) < 0.02 + 4 * gap.amortisation_gap.se
    assert gap.family == "independent latents, normal mapped to the support"


def test_other_data_are_refused():
    guide = trained(autoguide.AutoNormal, linear, X)
    with pytest.raises(ValueError, match=r"for the 4 data it was trained on, and \d of these \d data are none"):
        pv.measure(linear, guide, torch.tensor([7.0, 0.4, 8.0]))
    with pytest.raises(ValueError, match="AutoNormal has not seen data yet: call it with all data"):
        pv.measure(linear, autoguide.AutoNormal(linear), X)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("AutoDelta", "is a point without a density, .*; use the amortised guide mean_field"),
        ("AutoMultivariateNormal", "draws the latents of all data together, .*; use the amortised guide full"),
        ("AutoLowRankMultivariateNormal", "draws the latents of all data together, .* amortised guide low_rank"),
        ("AutoIAFNormal", "draws the latents of all data together, .*; use the amortised guide flow"),
        ("AutoLaplaceApproximation", "draws the latents of all data together, .*; use the amortised guide mean_field"),
    ],
)
def test_autoguides_of_other_kinds_are_refused_by_name(kind, reason):
    guide = getattr(autoguide, kind)(linear)
    guide(X)
    for measurement in (pv.measure, pv.split_gap, pv.tightness):
        with pytest.raises(ValueError, match=f"{kind} {reason}"):
            measurement(linear, guide, X)
    if kind != "AutoDelta":
        with pytest.raises(ValueError, match=f"{kind} {reason}"):
            pv.DiscreteELBO().loss(linear, guide, X)


def test_a_point_estimate_may_be_trained():
    """Its loss is minus log p(x, z) at the point."""
    guide = trained(autoguide.AutoDelta, linear, X, loss=pv.DiscreteELBO(draws=1))
    z = guide.median()["z"].numpy()
    loss = pv.DiscreteELBO(draws=1).loss(linear, guide, X)
    assert abs(loss + (stats.norm.logpdf(z) + stats.norm(z, 0.5).logpdf(X.numpy())).sum()) < 1e-9


def test_a_training_in_batches_refuses_autoguides():
    for guide in (autoguide.AutoNormal(linear), autoguide.AutoNormal, autoguide.AutoDelta(linear)):
        with pytest.raises(ValueError, match=r"Auto\w+ has parameters for the data of its first call only"):
            pv.train(linear, guide, X)

"""A function that a run trained has its trained parameters in the run, and is not measured with those it began with."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from pyro.optim import Adam
from scipy.stats import norm

import ppl_vae as pv

X = 3 * torch.randn(60, generator=torch.Generator().manual_seed(0))


def model(x):
    slope = pyro.param("slope", torch.ones(()))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(slope * z, 1.0), obs=x)


def guide(x):
    mean, scale = pyro.param("mean", torch.zeros(())), pyro.param("scale", torch.ones(()), dist.constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(mean * x, scale))


class Pair:
    def model(self, x):
        model(x)

    def guide(self, x):
        guide(x)


@pytest.mark.parametrize("form", ["functions", "methods"])
def test_functions_that_a_run_trained_are_measured_as_the_run_has_them(tmp_path, form):
    pyro.clear_param_store()
    pair = Pair()
    p, q = (model, guide) if form == "functions" else (pair.model, pair.guide)
    run = pv.train(p, q, X, epochs=2, learning_rate=0.1, evidence_draws=2, out=tmp_path / "r")
    slope = run.model.pyro_parameters["slope"].item()
    expected = norm(0, np.hypot(1, slope)).logpdf(X.double())
    np.testing.assert_allclose(pv.measure(run.model, run.guide, X).evidence.pointwise, expected, rtol=1e-4)
    for measured in (
        lambda: pv.measure(p, q, X),
        lambda: pv.measure(run.model, q, X),
        lambda: pv.log_weight(p, q, X),
        lambda: pv.simulate(p, X),
        lambda: pv.split_gap(p, q, X),
        lambda: pv.tightness(p, q, X),
        lambda: pv.information(p, q, X),
        lambda: pv.sandwich(p, q, X),
    ):
        with pytest.raises(ValueError, match=r"pyro.param '\w+' of .* in a run.* give run.model and run.guide instead"):
            measured()
    p(X)
    with pytest.raises(ValueError, match="pyro.param 'slope' of model was trained in a run"):  # the store has the first
        pv.measure(p, q, X)
    SVI(p, q, Adam({"lr": 0.1}), pv.DiscreteELBO()).step(X)  # trains the functions themselves
    expected = norm(0, np.hypot(1, pyro.param("slope").item())).logpdf(X.double())
    np.testing.assert_allclose(pv.measure(p, q, X).evidence.pointwise, expected, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:pyro.param:UserWarning")
def test_functions_trained_by_svi_before_a_run_are_measured_as_they_are(tmp_path):
    pyro.clear_param_store()
    svi = SVI(model, guide, Adam({"lr": 0.1}), pv.DiscreteELBO())
    for _ in range(3):
        svi.step(X)
    slope = pyro.param("slope").item()
    pv.train(model, guide, X, epochs=2, learning_rate=0.2, evidence_draws=2, out=tmp_path / "r")
    with pytest.warns(UserWarning, match="'slope' of model has the value of Pyro's parameter store, trained before"):
        found = pv.measure(model, guide, X)
    np.testing.assert_allclose(found.evidence.pointwise, norm(0, np.hypot(1, slope)).logpdf(X.double()), rtol=1e-4)

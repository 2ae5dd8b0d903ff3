"""Densities that are differences of large numbers: what rounding moves is not called exact, and float64 is right."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import betabinom, nbinom, poisson, vonmises, weibull_min

import ppl_vae as pv
from ppl_vae.distributions.in_float64 import in_float64


def continuous_bernoulli(x, logits):
    normaliser = np.log(logits / np.tanh(logits / 2)) if logits else np.log(2)
    return logits * x - np.logaddexp(0, logits) + normaliser


def relaxed(x, logits):
    """Maddison, Mnih and Teh 2017, eq. 22, of temperature 10."""
    difference = logits - 10 * (np.log(x) - np.log1p(-x))
    return np.log(10) + difference - 2 * np.logaddexp(0, difference) - np.log(x) - np.log1p(-x)


CASES = {
    "continuous Bernoulli": (
        lambda p: dist.ContinuousBernoulli(logits=p), continuous_bernoulli,
        ((20.0, 0.0), [0.125, 0.875]), ((3.0, -3.0), [0.125, 0.875]),
    ),
    "relaxed Bernoulli": (
        lambda p: dist.RelaxedBernoulli(torch.tensor(10.0).to(p), logits=p), relaxed,
        ((0.0, 1.0), [2.0**-16, 0.5]), ((0.0, 1.0), [0.5, 0.75]),
    ),
    "Weibull": (
        lambda p: dist.Weibull(p, torch.tensor(30.0).to(p)),
        lambda x, p: weibull_min.logpdf(x, 30, scale=p), ((1.0, 2.0), [2.0**-10, 1.5]), ((1.0, 2.0), [0.75, 1.5]),
    ),
    "beta-binomial": (
        lambda p: dist.BetaBinomial(p, 3 * p, 100),
        lambda x, p: betabinom.logpmf(x, 100, p, 3 * p), ((2.0**20, 2.0**21), [0.0, 30.0]), ((4.0, 2.0), [0.0, 30.0]),
    ),
    "negative binomial": (
        lambda p: dist.NegativeBinomial(p, logits=torch.zeros_like(p)),
        lambda x, p: nbinom.logpmf(x, p, 0.5), ((2.0**20, 2.0**20), [5.0, 2.0**20]), ((4.0, 2.0), [5.0, 0.0]),
    ),
    "Poisson": (
        dist.Poisson, lambda x, p: poisson.logpmf(x, p), ((2.0**20, 2.0**20), [2.0**20, 3.0]), ((4.0, 2.0), [2.0, 0.0]),
    ),
    "von Mises": (
        lambda p: dist.VonMises(torch.zeros_like(p), p),
        lambda x, p: vonmises.logpdf(x, p), ((2.0**21, 2.0**22), [0.0, 2.0**-10]), ((4.0, 2.0), [0.0, 2.0]),
    ),
}  # fmt: skip
"""Distribution and its log-density of a parameter; two values of it and data, harmed by rounding and not."""


def pair(make, parameters):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.ones(2)))
            pyro.sample("x", make(torch.tensor(parameters).to(x)[z]), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(torch.ones(2)))

    return model, guide


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("is_harmed", [True, False], ids=["harmed", "mild"])
def test_what_rounding_moves_is_not_called_exact(case, is_harmed):
    make, log_density, harmed, mild = case
    parameters, values = harmed if is_harmed else mild
    x, programs = torch.tensor(values), pair(make, parameters)
    truth = logsumexp([log_density(np.array(values), p) for p in parameters], axis=0) - np.log(2)
    result, precise = pv.measure(*programs, x), pv.measure(*programs, x.double())
    assert precise.evidence.bound == "exact"
    np.testing.assert_allclose(precise.evidence.pointwise, truth, rtol=1e-7, atol=1e-7)
    if is_harmed:
        assert np.abs(result.evidence.pointwise.numpy() - truth).max() > 0.01
        assert result.evidence.bound == "approximate"
        assert any("log-density of site 'x'" in line and "float64" in line for line in result.warnings)
    else:
        assert result.evidence.bound == "exact" and not result.warnings
        np.testing.assert_allclose(result.evidence.pointwise, truth, rtol=1e-5, atol=1e-5)


def test_what_a_parameter_was_made_of_is_converted():
    rounded = torch.tensor([1e-3, 0.3])
    fn = dist.Binomial(7, logits=rounded).to_event(1).mask(torch.tensor(True))
    assert fn.base_dist.base_dist.probs.dtype == torch.float32  # computed from the logits, and kept
    precise = in_float64(fn)
    assert precise.base_dist.base_dist.logits.dtype == precise.base_dist.base_dist.probs.dtype == torch.float64
    assert fn.base_dist.base_dist.logits.dtype == torch.float32

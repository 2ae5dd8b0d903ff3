"""Every measurement of a pair takes the same programs: what it says is right, against NumPy, or refused by name."""

from operator import attrgetter

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy.special import expit, logit, logsumexp
from scipy.stats import norm

import ppl_vae as pv
from ppl_vae.evidence.ais import Schedule

pytestmark = pytest.mark.usefixtures("float64")

PROBABILITY, LOC = 0.3, 2.0
X = np.random.default_rng(0).normal(1, 1.2, 5)
JOINT = np.array([np.log(1 - PROBABILITY) + norm.logpdf(X, 0, 1), np.log(PROBABILITY) + norm.logpdf(X, LOC, 1)])
EVIDENCE = logsumexp(JOINT, axis=0)
POSTERIOR = expit(JOINT[1] - JOINT[0])
RATE = POSTERIOR * np.log(POSTERIOR / PROBABILITY) + (1 - POSTERIOR) * np.log((1 - POSTERIOR) / (1 - PROBABILITY))


def bit():
    return pyro.sample("z", dist.Bernoulli(torch.tensor(PROBABILITY)))


def point(z, x):
    return pyro.sample("x", dist.Normal(LOC * z, 1.0), obs=x)


def logits(x):
    return LOC * x - LOC**2 / 2 + float(logit(PROBABILITY))


def model(x):
    with pyro.plate("data", len(x)):
        point(bit(), x)


def posterior(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Bernoulli(logits=logits(x)))


def scaled_prior():
    def model(x):
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=0.1):
                z = bit()
            point(z, x)

    return model, posterior


def part_of_a_plate():
    def model(x):
        with pyro.plate("all", 1000, subsample_size=len(x)):
            point(bit(), x)

    def guide(x):
        with pyro.plate("all", 1000, subsample_size=len(x)):
            pyro.sample("z", dist.Bernoulli(logits=logits(x)))

    return model, guide


def regulariser():
    def model(x):
        with pyro.plate("data", len(x)):
            point(bit(), x)
        with pv.regulariser():
            pyro.factor("decay", torch.tensor(-3.0))

    return model, posterior


def layers_in_training():
    dropout = torch.nn.Dropout(0.5)

    def model(x):
        with pyro.plate("data", len(x)):
            point(dropout(bit()), x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=dropout(logits(x))))

    return model, guide


def masked_observation():
    def model(x):
        with pyro.plate("data", len(x)):
            z = bit()
            point(z, x)
            pyro.deterministic("twice", 2 * z)
            pyro.sample("y", dist.Normal(z, 1.0).mask(torch.tensor(False)), obs=torch.full_like(x, torch.nan))

    return model, posterior


def excluded_state():
    """A state of probability 0 that the guide never draws and that explains no datum."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(probs=torch.tensor([1 - PROBABILITY, PROBABILITY, 0.0])))
            pyro.sample("x", dist.Normal(torch.tensor([0.0, LOC, 99.0])[z], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            one = logits(x)
            pyro.sample("z", dist.Categorical(logits=torch.stack([0 * one, one, one - 9999], -1)))

    return model, guide


def factor():
    def model(x):
        with pyro.plate("data", len(x)):
            z = bit()
            point(z, x)
            pyro.factor("extra", -z)

    return model, posterior


def outside_the_support():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.LogNormal(bit(), 1.0), obs=x - 10)

    return model, posterior


def random_guide():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=logits(x) + torch.randn(len(x))))

    return model, guide


def mean_of_the_batch():
    def model(x):
        with pyro.plate("data", len(x)):
            point(bit() + x.mean(), x)

    return model, posterior


def shared_latent():
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            point(bit() + loc, x)

    def guide(x):
        pyro.sample("loc", dist.Normal(0.0, 1.0))
        posterior(x)

    return model, guide


def masked_latent():
    def model(x):
        with pyro.plate("data", len(x)):
            with poutine.mask(mask=x > 1):
                z = bit()
            point(z, x)

    return model, posterior


def possible_only_by_rounding():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.tensor(1e-30)))
            pyro.sample("x", dist.Normal(50 * z, 1.0), obs=x + 50)

    return model, posterior


RIGHT = (scaled_prior, part_of_a_plate, regulariser, layers_in_training, masked_observation, excluded_state)

REFUSED = {
    factor: "site 'extra' is a pyro.factor",
    outside_the_support: "site 'x' is LogNormal and takes positive numbers",
    random_guide: "site 'z' changes from call to call",
    mean_of_the_batch: "site 'x' for a datum changes with",
    shared_latent: "all data share the latent site 'loc'",
    masked_latent: "site 'x' depends on masked latents",
    possible_only_by_rounding: "site 'z' gives some values a probability of 0.* depends on it",
}


def measure(pair, x):
    result = pv.measure(*pair, x)
    np.testing.assert_allclose(result.evidence.pointwise, EVIDENCE, rtol=1e-9)
    np.testing.assert_allclose(result.elbo.pointwise, EVIDENCE, rtol=1e-9)
    return result


def split_gap(pair, x):
    result = pv.split_gap(*pair, x)
    for value in (result.evidence, result.best, result.elbo):
        np.testing.assert_allclose(value.pointwise, EVIDENCE, rtol=1e-9)
    return result


def tightness(pair, x):
    result = pv.tightness(*pair, x)
    assert result.status in ("tight", "in the family")
    return result


def information(pair, x):
    result = pv.information(*pair, x)
    np.testing.assert_allclose(result.rates.rate.pointwise, RATE, rtol=1e-9)
    np.testing.assert_allclose(result.rates.distortion.pointwise, -EVIDENCE - RATE, rtol=1e-9)
    return result


def rate_distortion_curve(pair, x):
    result = pv.rate_distortion_curve(*pair, x, betas=(1.0,))
    np.testing.assert_allclose(result.cost[0].pointwise, -EVIDENCE, rtol=1e-9)
    np.testing.assert_allclose(result.guide_rate.pointwise, RATE, rtol=1e-9)
    return result


def calibrate(pair, x):
    torch.manual_seed(1)
    result = pv.calibrate(*pair, x, simulated=100, draws=9)
    assert result.status == "not found to be miscalibrated"
    return result


def sandwich(pair, x):
    torch.manual_seed(0)
    bits = torch.tensor(np.random.default_rng(1).random(len(X)) < POSTERIOR).double()
    result = pv.sandwich(*pair, x, draws=4, schedule=Schedule(temperatures=10), drawn_with={"z": bits})
    bracket = result.bracket(0.999)
    assert bracket.lower < EVIDENCE.mean() < bracket.upper
    return result


NOT_TAKEN = {
    (sandwich, excluded_state): "site 'z' is categorical",
    (tightness, excluded_state): "site 'z' gives some values a probability of 0.* tightness depends on it",
    (calibrate, masked_observation): "site 'y' does not observe the data x themselves",
}
"""What a measurement refuses of a structure that others measure."""

MEASUREMENTS = (measure, split_gap, tightness, information, rate_distortion_curve, calibrate, sandwich)


@pytest.mark.parametrize("structure", RIGHT, ids=lambda each: each.__name__)
@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda each: each.__name__)
def test_what_is_measured_is_right(measurement, structure):
    if message := NOT_TAKEN.get((measurement, structure)):
        with pytest.raises(ValueError, match=message):
            measurement(structure(), torch.tensor(X))
        return
    result = measurement(structure(), torch.tensor(X))
    noted = any("is scaled in the model" in line for line in result.warnings)
    assert noted == (structure in (scaled_prior, part_of_a_plate))


@pytest.mark.parametrize("structure", REFUSED, ids=lambda each: each.__name__)
@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda each: each.__name__)
def test_what_cannot_be_measured_is_refused_by_name(measurement, structure):
    if measurement is measure and structure is shared_latent:
        return  # which it takes: tests/evidence/test_shared_latents.py
    if structure is possible_only_by_rounding and measurement in (calibrate, tightness):
        return  # no datum is simulated that shows it, and log p(x, z) of two states is affine in any case
    with pytest.raises(ValueError, match=REFUSED[structure]):
        measurement(structure(), torch.tensor(X))


@pytest.mark.parametrize(
    ("name", "elbo"), [("split_gap", "elbo"), ("information", "rates.elbo"), ("rate_distortion_curve", "guide_elbo")]
)
def test_rounded_probabilities_of_data_are_counted_and_noted(name, elbo):
    def rounded(x):
        with pyro.plate("data", len(x)):
            z = bit()
            point(z, x)
            pyro.sample("y", dist.Bernoulli(probs=0 * z), obs=torch.ones_like(x))

    result = getattr(pv, name)(rounded, posterior, torch.tensor(X))
    assert any("site 'y' is given as probs" in line for line in result.warnings)
    excess = np.log(torch.finfo(torch.float64).eps)
    np.testing.assert_allclose(attrgetter(elbo)(result).pointwise, EVIDENCE + excess, rtol=1e-9)

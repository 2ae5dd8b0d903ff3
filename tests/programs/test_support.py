"""Data outside the support of what a model observes are refused, by the value that the site itself observes."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.evidence.measure import measure
from ppl_vae.programs.support import check_support


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))


CASES = {
    "Exponential": (lambda z: dist.Exponential(z.exp()), -0.5, "Exponential and takes numbers from 0"),
    "Bernoulli": (lambda z: dist.Bernoulli(logits=z), 0.3, "Bernoulli and takes zeros and ones"),
    "Binomial": (lambda z: dist.Binomial(5, logits=z), 1.5, "Binomial and takes whole numbers"),
    "Poisson": (lambda z: dist.Poisson(z.exp()), 2.5, "Poisson and takes whole numbers"),
    "LogNormal": (lambda z: dist.LogNormal(z, 1.0), 0.0, "LogNormal and takes positive numbers"),
    "Beta": (lambda z: dist.Beta(z.exp(), 1.0), 1.2, "Beta and takes numbers"),
    "Normal": (lambda z: dist.Normal(z, 1.0), float("nan"), "Normal and takes finite numbers"),
}


@pytest.mark.parametrize("family", CASES)
@pytest.mark.parametrize("validation", [True, False])
def test_values_outside_the_support_are_named_with_their_datum(family, validation):
    make, wrong, message = CASES[family]
    x = torch.ones(30, 2)
    if family == "Beta":
        x = x / 2
    x[17, 1] = wrong

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("y", make(z).to_event(1), obs=x)

    with pyro.validation_enabled(validation):
        with pytest.raises(ValueError, match=f"site 'y' is {message}.* in datum 17"):
            measure(model, guide, x, method="importance")
        check_support(model, x[:17])


@pytest.mark.parametrize(
    "family, row, message",
    [
        (lambda z: dist.Dirichlet(z.exp()), [0.5, 0.2], "sum to 1"),
        (lambda z: dist.OneHotCategorical(logits=z), [0.7, 0.3], "one-hot"),
    ],
)
def test_vectors_outside_the_support_are_named(family, row, message):
    x = torch.tensor([[1.0, 0.0]] * 9 + [row])
    if message == "sum to 1":
        x[:9] = torch.tensor([0.25, 0.75])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("y", family(z), obs=x)

    with pytest.raises(ValueError, match=f"{message}.* in datum 9"):
        measure(model, guide, x, method="importance")


def test_the_value_a_site_observes_is_checked_not_the_batch():
    x = torch.rand(30, 4)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("y", dist.Bernoulli(logits=z).to_event(1), obs=(x[:, :2] > 0.5).double())

    assert measure(model, guide, x, method="importance").evidence.mean < 0


def test_a_support_that_depends_on_the_latents_gives_no_density_outside():
    """Pareto's torch density is finite below its scale: the evidence counts only the latents that allow a datum."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Pareto(1 + z, 2.0, validate_args=False), obs=x)

    def bits(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(len(x))))

    x = torch.tensor([0.5, 1.5, 3.0])
    with pyro.validation_enabled(False):
        evidence = measure(model, bits, x, method="enumeration").evidence
    expected = [-np.inf, np.log(0.7 * 2 / 1.5**3), np.log(0.7 * 2 / 3**3 + 0.3 * 2 * 2**2 / 3**3)]
    assert np.allclose(evidence.pointwise.numpy(), expected, atol=1e-6)

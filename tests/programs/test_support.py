"""Data outside the support of what a model observes are refused, by the value that the site itself observes."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.data.inputs import as_batch
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
    "Normal": (
        lambda z: dist.Normal(z, 1.0),
        float("nan"),
        r"Normal and takes finite numbers.*; where NaN means a missing value, write `\.mask",
    ),
    "Gamma at 0": (lambda z: dist.Gamma(2.0, z.exp()), 0.0, "Gamma, whose density is zero or infinite at the ends"),
    "Beta at 1": (lambda z: dist.Beta(2.0, z.exp() + 1), 1.0, "Beta, whose density is zero or infinite at the ends"),
    "Binomial of 5": (lambda z: dist.Binomial(5, logits=z), 9.0, "Binomial and takes whole numbers up to 5.* have 9"),
}


@pytest.mark.parametrize("family", CASES)
@pytest.mark.parametrize("validation", [True, False])
def test_values_outside_the_support_are_named_with_their_datum(family, validation):
    make, wrong, message = CASES[family]
    x = torch.ones(30, 2)
    if family.startswith("Beta"):
        x = x / 2
    x[17, 1] = wrong

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("y", make(z).to_event(1), obs=x)

    with pyro.validation_enabled(validation):
        with pytest.raises(ValueError, match=rf"site 'y' is (?=.* in datum 17){message}"):
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


def test_a_total_that_the_latents_decide_is_no_bound():
    """Of an N-mixture: what is counted lies above most draws of the number that there are."""
    x = torch.tensor([[2.0, 3.0], [0.0, 9.0]])

    def model(x):
        with pyro.plate("data", len(x)):
            number = pyro.sample("number", dist.Poisson(2.0))
            pyro.sample("y", dist.Binomial(number[..., None], torch.tensor([0.4, 0.5])).to_event(1), obs=x)

    check_support(model, x)


def test_values_beside_a_mask_may_lie_outside_the_support():
    x, seen = torch.tensor([[1.0, -1.0], [2.0, 3.0]]), torch.tensor([[True, False], [True, True]])

    def model(x, seen):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("y", dist.Poisson(z.exp()).mask(seen).to_event(1), obs=x)

    check_support(model, as_batch(x, seen))
    with pytest.raises(ValueError, match="Poisson and takes whole numbers.* -1 in datum 0"):
        check_support(model, as_batch(x, torch.ones_like(seen)))


def test_counts_above_the_total_of_a_multinomial_are_refused():
    x = torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0], [3.0, 0.0, 0.0], [0.0, 0.0, 5.0]])

    def model(x, total):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Multinomial(total, logits=z, validate_args=False), obs=x)

    def normal(x, total):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))

    with pytest.raises(
        ValueError, match=r"whose sum is up to 3, but the given data have 5 in datum 3; raise total_cou"
    ):
        measure(model, normal, x, 3)
    assert measure(model, normal, x, 5, draws=20).evidence.pointwise.isfinite().all()

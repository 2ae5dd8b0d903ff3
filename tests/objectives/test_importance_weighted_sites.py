"""The importance-weighted bound of pairs with normal latents, and of bits that depend on them."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.programs.log_weight import log_weight
from tests.support.gradients import gradient
from tests.support.small_pairs import BitsOfPoints
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


class Points:
    """Normal latents of points; the guide is reparameterised."""

    def __init__(self) -> None:
        self.noise, self.slope = (torch.nn.Parameter(torch.randn(3)) for _ in range(2))
        self.parameters = (self.noise, self.slope)

    def model(self, x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(y[..., None].tanh(), self.noise.exp()).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(x @ self.slope, 0.7))


def test_one_draw_is_the_elbo_draw_by_draw():
    """Exactly: everything of a reparameterised pair, and the model's part of a discrete one."""
    x = torch.randn(4, 3)
    pair = Points()
    losses = []
    for objective in (ImportanceWeightedELBO(1), DiscreteELBO(draws=1, kl="sampled")):
        torch.manual_seed(5)
        losses.append(objective.differentiable_loss(pair.model, pair.guide, x))
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(*(gradient(loss, *pair.parameters) for loss in losses))

    bits = BitsOfPoints(3)
    torch.manual_seed(5)
    ours = ImportanceWeightedELBO(1, most_bits=0).differentiable_loss(bits.model, bits.guide, x)
    torch.manual_seed(5)
    theirs = -log_weight(bits.model, bits.guide, x, 1).sum()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, bits.noise), gradient(theirs, bits.noise))


def test_draws_of_a_reparameterised_guide_are_weighed():
    """Value and gradient of log mean weight, by autograd over the same draws."""
    pair, x = Points(), torch.randn(4, 3)
    torch.manual_seed(5)
    ours = ImportanceWeightedELBO(7).differentiable_loss(pair.model, pair.guide, x)
    torch.manual_seed(5)
    theirs = -(log_weight(pair.model, pair.guide, x, 7).logsumexp(0) - math.log(7)).sum()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(gradient(loss, *pair.parameters) for loss in (ours, theirs)))


def test_bits_that_lean_on_a_normal_draw():
    """Two draws of both, against quadrature over the normal, the codes and all pairs of them."""
    a, b = torch.nn.Parameter(torch.randn(3)), torch.nn.Parameter(torch.randn(3))
    c = torch.nn.Parameter(torch.tensor(1.5))
    x = torch.randn(1, 3)

    def model(x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Normal(0.0, 1.0))
            z = pyro.sample("z", dist.Bernoulli(logits=y))
            pyro.sample("x", dist.Normal((z + y)[..., None], c.exp()).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Normal(x @ a, 0.7))
            pyro.sample("z", dist.Bernoulli(logits=x @ b + y * c))

    nodes, mass = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(50))
    mass = mass / mass.sum()
    y, z = (x @ a) + 0.7 * nodes[:, None], torch.tensor([0.0, 1.0])
    log_z = dist.Bernoulli(logits=x @ b + y * c).log_prob(z)
    log_p = dist.Normal(0.0, 1.0).log_prob(y) + dist.Bernoulli(logits=y).log_prob(z)
    log_p = log_p + dist.Normal((z + y)[..., None], c.exp()).log_prob(x).sum(-1)
    weight = (log_p - log_z - dist.Normal(0.0, 0.7).log_prob(0.7 * nodes)[:, None]).flatten()
    chance = (mass[:, None] * log_z.exp()).flatten()
    bound = torch.logaddexp(weight[:, None], weight) - math.log(2)
    expected = gradient(-(chance[:, None] * chance * bound).sum(), a, b, c)
    objective = ImportanceWeightedELBO(2)
    samples = [gradient(objective.differentiable_loss(model, guide, x), a, b, c) for _ in range(300)]
    assert_mean(torch.stack(samples), expected)


def test_what_has_no_likelihood_is_named():
    pair, x = BitsOfPoints(2), torch.randn(6, 3)

    def subsampled(x):
        with pyro.plate("data", len(x), subsample_size=2) as index:
            pyro.sample("z", dist.Bernoulli(logits=x[index, :2]).to_event(1))

    def scaled(x):
        with pyro.poutine.scale(scale=0.5):
            pair.guide(x)

    def elsewhere(x):
        pyro.sample("z", dist.Bernoulli(0.5))

    for most_bits in (10, 0):
        objective = ImportanceWeightedELBO(most_bits=most_bits)
        with pytest.raises(ValueError, match="site 'z' of the guide is scaled or masked .*maximise the ELBO"):
            objective.loss(pair.model, scaled, x)
        with pytest.raises(ValueError, match=r"guide draws \['z'\] but the latents of the model are \['y'\]"):
            objective.loss(Points().model, pair.guide, x)
    with pytest.raises(ValueError, match="of the .* is scaled or masked"):
        ImportanceWeightedELBO(most_bits=0).loss(subsampled, subsampled, x)
    with pytest.raises(ValueError, match="site 'z' of the guide lies outside the plate over data"):
        ImportanceWeightedELBO(most_bits=0).loss(elsewhere, elsewhere, x)

import math

import pytest
import torch
from ppl_vae.guides.posterior import Posterior
from ppl_vae.models.gmm import Gmm
from ppl_vae.models.text import Text

from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.log_weight import log_joint
from tests.support.small_pairs import documents

pytestmark = pytest.mark.usefixtures("float64")


def points():
    return 2 * torch.randn(7, 2)


def by_hand(model, x):
    """The density of each component at each point, with the weight 1 / 4, ``(data, 4)``."""
    squares = (x[:, None] - model.centres).square().sum(-1)
    return -squares / (2 * model.log_scale.exp() ** 2) - math.log(2 * math.pi) - 2 * model.log_scale - math.log(4)


def test_is_a_mixture_of_gaussians():
    model, x = Gmm(scale=0.7), points()
    joint = log_joint(model, x, {"z": bit_states(2)[:, None].expand(4, 7, 2)})
    torch.testing.assert_close(joint.T, by_hand(model, x))


def test_evidence_and_posterior_are_those_of_the_mixture():
    model, x = Gmm(learn_centres=True), points()
    guide = Posterior(model, x)
    found = measure(model, guide, x)
    torch.testing.assert_close(found.evidence.pointwise, by_hand(model, x).logsumexp(1).detach())
    torch.testing.assert_close(found.gap.pointwise, torch.zeros(7), atol=1e-12, rtol=0)


def test_climbing_the_bound_of_the_posterior_is_climbing_the_likelihood():
    model, x = Gmm(learn_centres=True, learn_scale=True), points()
    guide = Posterior(model, x)
    assert not list(guide.parameters())
    parameters = list(model.parameters())
    bound = torch.autograd.grad(DiscreteELBO("enumerate")(model, guide)(x), parameters)
    likelihood = torch.autograd.grad(-by_hand(model, x).logsumexp(1).sum(), parameters)
    for one, other in zip(bound, likelihood, strict=True):
        torch.testing.assert_close(one, other)


def test_between_codes_the_centre_is_linear_in_each_bit():
    model = Gmm(centres="natural_square")
    middle = model.centre(torch.tensor([[0.5, 0.5], [0.0, 0.5]]))
    torch.testing.assert_close(middle, torch.stack([model.centres.mean(0), model.centres[:2].mean(0)]))


def test_what_it_cannot_be_is_refused():
    with pytest.raises(ValueError, match="there are 8 Gaussians .* take centres 'random'"):
        Gmm(bits=3)
    with pytest.raises(ValueError, match=r"data of shape \(5,\)"):
        Gmm(shape=(5,))
    with pytest.raises(ValueError, match="scale positive, got 2 and 0"):
        Gmm(scale=0.0)
    with pytest.raises(ValueError, match="Text does not know its posterior"):
        Posterior(Text(9), documents(2, 9))
    with pytest.raises(ValueError, match=r"must be a vector, got the shape \(8, 8\); flatten"):
        Gmm(centres="random", shape=(8, 8))
    with pytest.raises(ValueError, match="bits must be 1 to 16"):
        Gmm(bits=40, centres="random")
    assert Gmm(bits=3, centres="random", shape=(5,)).centres.shape == (8, 5)

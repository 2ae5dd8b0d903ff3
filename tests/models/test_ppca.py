import math

import pytest
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.posterior import Posterior
from ppl_vae.models.ppca import Ppca
from torch.distributions import MultivariateNormal

from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.log_weight import log_joint

pytestmark = pytest.mark.usefixtures("float64")


def data(count=200, observed=5):
    """Correlated points, of no simple law."""
    z = torch.randn(count, 3)
    return torch.tanh(z) @ torch.randn(3, observed) + 0.3 * torch.randn(count, observed) + torch.randn(observed)


def diagonal(model, x):
    """The guide with the posterior's mean and the diagonal of its precision: the best one that factorises."""
    guide, precision = LinearCounts(model, x[:2]), model.posterior(x)["z"].precision_matrix[0]
    weight = torch.linalg.solve(precision, model.linear.weight.T / (2 * model.log_scale).exp())
    with torch.no_grad():
        first = guide.encoder
        first.weight.zero_()
        first.weight[:, : model.latents] = weight.T
        first.bias[: model.latents] = -weight @ model.linear.bias
        first.bias[model.latents :] = -precision.diagonal().log() / 2
    return guide


def turned(model):
    """The same law of x, with z turned."""
    other = Ppca(model.latents, shape=model.shape)
    other.load_state_dict(model.state_dict())
    other.linear.weight.data @= torch.linalg.qr(torch.randn(model.latents, model.latents)).Q
    return other


def test_is_the_linear_gaussian_model():
    model, x, z = Ppca(2, scale=0.7, shape=(5,)), data(4), torch.randn(3, 4, 2)
    mean = z @ model.linear.weight.T + model.linear.bias
    squares = (x - mean).square().sum(-1) / (2 * 0.7**2) + z.square().sum(-1) / 2
    by_hand = -squares - 7 / 2 * math.log(2 * math.pi) - 5 * math.log(0.7)
    torch.testing.assert_close(log_joint(model, x, {"z": z}), by_hand.detach())


@pytest.mark.parametrize("latents", [1, 3])
def test_evidence_and_posterior_are_those_of_a_gaussian(latents):
    model, x = Ppca(latents, scale=0.4, shape=(5,)), data()
    found = measure(model, Posterior(model, x), x, method="closed_form")
    covariance = model.linear.weight @ model.linear.weight.T + 0.4**2 * torch.eye(5)
    truth = MultivariateNormal(model.linear.bias, covariance).log_prob(x).detach()
    torch.testing.assert_close(found.evidence.pointwise, truth)
    torch.testing.assert_close(model.marginal().log_prob(x).detach(), truth)
    torch.testing.assert_close(found.gap.pointwise, torch.zeros(len(x)), atol=1e-10, rtol=0)


def test_data_may_be_images():
    x = data(50, 6).reshape(50, 2, 3)
    model = Ppca.maximum_likelihood(x, 2)
    found = measure(model, Posterior(model, x), x, method="closed_form")
    torch.testing.assert_close(found.evidence.pointwise, model.marginal().log_prob(x.flatten(1)).detach())


@pytest.mark.parametrize("latents", [1, 2, 4])
def test_the_maximum_of_the_likelihood_is_that_of_the_eigenvalues(latents):
    x = data()
    model = Ppca.maximum_likelihood(x, latents)
    kept = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    rest = kept[latents:].mean()
    best = -(5 * math.log(2 * math.pi) + kept[:latents].log().sum() + (5 - latents) * rest.log() + 5) / 2
    found = measure(model, Posterior(model, x), x, method="closed_form")
    torch.testing.assert_close(found.evidence.pointwise.mean(), best)
    slopes = torch.autograd.grad(model.marginal().log_prob(x).mean(), list(model.parameters()))
    for slope in slopes:
        torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-9, rtol=0)


def test_a_factorised_guide_is_tight_at_the_maximum_and_not_once_z_is_turned():
    x = data()
    model = Ppca.maximum_likelihood(x, 3)
    straight = measure(model, diagonal(model, x), x, method="closed_form")
    torch.testing.assert_close(straight.gap.pointwise, torch.zeros(len(x)), atol=1e-10, rtol=0)
    other = turned(model)
    crooked = measure(other, diagonal(other, x), x, method="closed_form")
    torch.testing.assert_close(crooked.evidence.pointwise, straight.evidence.pointwise)
    precision = other.posterior(x)["z"].precision_matrix[0]
    # The divergence of the best diagonal Gaussian from a Gaussian: what its precision matrix lacks of a diagonal one.
    family = (precision.diagonal().log().sum() - precision.logdet()) / 2
    assert family > 0.01
    torch.testing.assert_close(crooked.gap.pointwise, family.expand(len(x)).detach())


def test_only_the_linear_decoder_can_be_tight():
    x = data(40)
    model = Ppca.maximum_likelihood(x, 2)
    assert tightness(model, LinearCounts(model, x), x).status == "tight"
    curved = Ppca(2, hidden=1, width=8, shape=(5,))
    found = tightness(curved, LinearCounts(curved, x), x)
    assert found.status == "outside"


def test_a_hidden_layer_bends_the_mean():
    z = torch.linspace(-2, 2, 5)[:, None]
    straight, bent = (Ppca(1, hidden=hidden).mean(z).diff(2, dim=0).abs().max() for hidden in (0, 1))
    assert straight < 1e-12 < bent


def test_what_it_cannot_be_is_refused():
    with pytest.raises(ValueError, match="latents must be at least 1, got 0"):
        Ppca(0)
    with pytest.raises(ValueError, match="scale=0"):
        Ppca(scale=0.0)
    with pytest.raises(ValueError, match="for the linear decoder with one sigma alone; take hidden=0"):
        Ppca(hidden=1).posterior(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="5-dimensional data allow 1 to 4 latents, got 5"):
        Ppca.maximum_likelihood(data(), 5)
    flat = data(observed=3) @ torch.randn(3, 5)
    assert Ppca.maximum_likelihood(flat, 2).log_scale.isfinite()
    with pytest.raises(ValueError, match="3 latents explain these data completely"):
        Ppca.maximum_likelihood(flat, 3)

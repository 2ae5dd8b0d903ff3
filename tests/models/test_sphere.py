import pyro
import pytest
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.sphere import Sphere

from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.studies.spheres import log_density
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("dimensions", [2, 3, 10])
def test_the_decoder_radius_has_the_density_of_a_sphere_of_means(dimensions):
    model = Sphere(sigma="0.6", shape=(dimensions,))
    model.radius.data.fill_(0.8)
    x = torch.nn.functional.normalize(torch.randn(4, dimensions), dim=-1) * torch.tensor([[1.0], [0.2], [1.4], [0.7]])
    exact = torch.as_tensor(log_density(x.norm(dim=-1).numpy(), 0.8, 0.6, dimensions))
    z = torch.randn(100_000, 1, dimensions).expand(-1, 4, -1)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    ratio = (log_joint(model, x, {"z": z}) - prior - exact).exp().detach()
    assert_mean(ratio, torch.ones(4))


def test_only_the_direction_counts():
    model, z = Sphere(), torch.randn(5, 3)
    torch.testing.assert_close(model.mean(z), model.mean(7 * z))
    torch.testing.assert_close(model.mean(z).norm(dim=-1), torch.ones(5))
    network = Sphere("network")
    assert not torch.allclose(network.mean(z), network.mean(7 * z))


def test_a_linear_network_is_a_normal_law():
    model, x = Sphere("network", latents=2, hidden=0, sigma="0.3"), torch.randn(6, 3)
    w, b = model.network[0].weight, model.network[0].bias
    law = torch.distributions.MultivariateNormal(b, w @ w.T + 0.09 * torch.eye(3))
    found = measure(model, MeanField(model, x[:2], layers=1, width=4), x, method="closed_form")
    torch.testing.assert_close(found.evidence.pointwise, law.log_prob(x).detach())


def test_a_given_noise_is_no_parameter():
    model, x = Sphere(sigma="0.3"), torch.randn(6, 3)
    assert [name for name, _ in model.named_parameters()] == ["radius"]
    DiscreteELBO().loss_and_grads(model, LinearCounts(model, x), x)
    assert model.radius.grad is not None and model.noise().item() == pytest.approx(0.3)


def test_noise_may_be_learned_or_depend_on_z():
    x = torch.randn(6, 3)
    assert "noise.log_scale" in dict(Sphere(sigma="learned").named_parameters())
    model = Sphere(sigma="vector", scale=0.4)
    found = pyro.poutine.trace(model).get_trace(x).nodes["x"]["fn"].base_dist.scale
    torch.testing.assert_close(found, torch.full((6, 3), 0.4))


def test_images_keep_their_shape():
    assert Sphere("network", latents=2, shape=(4, 5)).mean(torch.randn(7, 3, 2)).shape == (7, 3, 4, 5)


def test_what_it_cannot_be_is_refused():
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        Sphere(width=0)
    with pytest.raises(ValueError, match="a positive number, learned, analytic, vector or schedule:RUN, got '0.0'"):
        Sphere(sigma="0.0")
    with pytest.raises(ValueError, match="one latent per number of x, 3, got latents=2"):
        Sphere(latents=2)

"""Normals with couplings: densities of their draws stay right where single precision loses those of others."""

import numpy as np
import pytest
import torch

from ppl_vae.distributions.coupled_normal import CoupledNormal, coupled_scale_tril, couplings_of
from ppl_vae.programs.latent import reshaped


def log_normal(noise, log_diagonal):
    """Log-density of a normal draw by the noise that it was made of, in NumPy."""
    noise, log_diagonal = (np.asarray(v, dtype=np.float64) for v in (noise, log_diagonal))
    return -0.5 * (noise**2).sum(-1) - log_diagonal.sum(-1) - 0.5 * noise.shape[-1] * np.log(2 * np.pi)


def test_factor_is_the_deviations_times_a_unit_triangle_of_the_couplings():
    scale, couplings = np.array([2.0, 0.5, 3.0]), np.array([1.0, -2.0, 0.25])
    unit = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [-2.0, 0.25, 1.0]])
    found = coupled_scale_tril(torch.tensor(scale), torch.tensor(couplings))
    np.testing.assert_allclose(found.numpy(), np.diag(scale) @ unit)
    np.testing.assert_allclose(couplings_of(found).numpy(), couplings)
    assert coupled_scale_tril(torch.ones(2), torch.tensor([1e6]))[1, 0] == 103


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_a_draw_has_the_density_of_its_noise_however_singular_the_covariance(shape):
    scale = torch.tensor([1.0, 1e-6, 1e-6])
    tril = coupled_scale_tril(scale, torch.full((3,), 90.0))
    fn = CoupledNormal(torch.full((3,), 5.0), scale_tril=tril).expand([4])
    torch.manual_seed(0)
    z = reshaped(fn, torch.Size(shape)).rsample((2,))
    torch.manual_seed(0)
    noise = torch.randn(2, 4, 3)
    np.testing.assert_allclose(z.reshape(2, 4, 3).numpy(), 5 + noise.numpy() @ tril.T.numpy(), rtol=1e-5)
    view = reshaped(fn, torch.Size(shape))
    torch.manual_seed(0)
    density = view.log_prob(view.rsample((2,)))
    np.testing.assert_allclose(density.numpy(), log_normal(noise.numpy(), np.log(scale.numpy())), rtol=1e-5)


def test_other_values_have_the_density_of_a_multivariate_normal():
    tril = coupled_scale_tril(torch.tensor([1.0, 0.2]), torch.tensor([3.0])).double()
    fn, value = CoupledNormal(torch.zeros(2).double(), scale_tril=tril), torch.tensor([0.3, -0.4]).double()
    fn.rsample()
    noise = np.linalg.solve(tril.numpy(), value.numpy())
    np.testing.assert_allclose(fn.log_prob(value).item(), log_normal(noise, np.log([1.0, 0.2])))
    # The gradient of a draw's density is that of the formula for any value.
    loc = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    free = tril.clone().requires_grad_()
    own = CoupledNormal(loc, scale_tril=free)
    draw = own.rsample()
    by_noise = torch.autograd.grad(own.log_prob(draw), (loc, free), allow_unused=True, retain_graph=True)
    by_value = torch.autograd.grad(own.log_prob(draw + 0), (loc, free))
    assert by_noise[0] is None
    torch.testing.assert_close(by_value[0], torch.zeros(2).double())
    torch.testing.assert_close(by_noise[1].tril(), by_value[1].tril())


@pytest.mark.parametrize("drawn", ["without gradient", "then made a leaf", "then changed in place"])
def test_a_draw_that_does_not_carry_the_gradient_has_the_density_of_any_value(drawn):
    """As of torch's multivariate normal."""
    tril = coupled_scale_tril(torch.tensor([1.0, 0.2]), torch.tensor([3.0])).double().requires_grad_()
    loc = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    own, wanted = CoupledNormal(loc, scale_tril=tril), [loc, tril]
    if drawn == "then changed in place":
        z = own.rsample()
        z += 1
    else:
        z = own.sample()
    if drawn == "then made a leaf":
        wanted.append(z.requires_grad_())
    known = torch.distributions.MultivariateNormal(loc, scale_tril=tril).log_prob(z)
    found = own.log_prob(z)
    torch.testing.assert_close(found, known)
    ours, theirs = (torch.autograd.grad(value, wanted, retain_graph=True) for value in (found, known))
    torch.testing.assert_close(ours, theirs)


def test_a_draw_has_the_density_of_its_noise_where_no_gradient_is_wanted():
    tril = coupled_scale_tril(torch.tensor([1.0, 1e-6, 1e-6]), torch.full((3,), 90.0)).requires_grad_()
    own = CoupledNormal(torch.full((3,), 5.0), scale_tril=tril)
    torch.manual_seed(0)
    z = own.sample((2,))
    torch.manual_seed(0)
    noise = torch.randn(2, 3)
    with torch.no_grad():
        found = own.log_prob(z)
    np.testing.assert_allclose(found.numpy(), log_normal(noise.numpy(), np.log([1.0, 1e-6, 1e-6])), rtol=1e-5)

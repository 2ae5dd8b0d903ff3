"""What single precision hides is not called exact."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.gan_gaussian import GanGaussian
from ppl_vae.models.ppca import Ppca
from pyro.nn import PyroModule

from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.plan import plan


class Narrow(PyroModule):
    """Two latents and numbers of tiny noise, whose density is some 1e5 nats; a little of it is not linear."""

    def __init__(self, bend: float) -> None:
        super().__init__()
        self.bend = bend
        self.weight = torch.nn.Parameter(torch.randn(2, 500))

    def forward(self, x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            mean = z @ self.weight + self.bend * z[..., :1].square()
            pyro.sample("x", dist.Normal(mean, 0.05).to_event(1), obs=x)


@pytest.mark.parametrize(("bend", "method"), [(0.0, "closed_form"), (1e-4, "quadrature"), (1e-2, "quadrature")])
def test_a_network_nearly_linear_is_found_out(bend, method):
    torch.manual_seed(0)
    assert torch.get_default_dtype() == torch.float32
    assert plan(Narrow(bend), torch.randn(20, 500)).method.name == method
    assert torch.get_default_dtype() == torch.float32


def test_a_generator_whose_weights_are_small_is_no_linear_model():
    torch.manual_seed(0)
    model = GanGaussian(3, channels=2, sigma="0.025", shape=(16, 16))
    assert "log p(x, z) is not quadratic in z" in plan(model, torch.rand(5, 16, 16)).why


def test_a_module_in_single_precision_is_measured_in_double():
    torch.manual_seed(0)
    model, x = Ppca(3, sigma="0.05", shape=(200,)), torch.randn(30, 200)
    found = measure(model, MeanField(model, x), x, method="closed_form").evidence
    law = model.double().marginal()
    torch.testing.assert_close(found.pointwise, law.log_prob(x.double()), atol=1e-6, rtol=0)

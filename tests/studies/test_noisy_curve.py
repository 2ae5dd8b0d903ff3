"""Fresh points of a noisy curve, and evidence by weights of draws from a grid of latents."""

import math

import pytest
import torch
from ppl_vae.guides.residual import Residual
from ppl_vae.models.manifold import Manifold
from torch import nn

from ppl_vae.evidence.measure import measure
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.studies.noisy_curve import FreshPoints, grid_evidence

pytestmark = pytest.mark.usefixtures("float64")


def test_every_batch_is_new_and_depends_on_the_random_state_alone():
    data = FreshPoints(50, torch.device("cpu"))
    index = torch.arange(10)
    torch.manual_seed(3)
    first, second = data[index], data[index]
    assert len(data) == 50 and first.shape == (10, 2) and not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(data[index], first)
    assert data[:2].shape == (2, 2) and data[45:60].shape == (5, 2)


class Folded(nn.Module):
    """Codes z and -z are the same to the decoder."""

    def forward(self, z):
        return z.abs()


@pytest.mark.parametrize("sigma", ["0.3", "vector"])
def test_the_evidence_counts_every_code_that_a_datum_has(sigma):
    """Four codes have the same mean; the guide covers one of them, badly."""
    torch.manual_seed(0)
    model = Manifold(sigma=sigma, blocks=0, width=2, scale=0.3)
    model.hidden, x = Folded(), torch.tensor([[1.0, 0.5], [0.6, 1.2]])
    with torch.no_grad():
        model.linear.weight.copy_(torch.eye(2))
        model.linear.bias.zero_()
        guide = Residual(model, x, blocks=0, width=2)
        for parameter in guide.parameters():
            parameter.zero_()
        guide.encoder[-1].bias.copy_(torch.tensor([1.0, 1.0, -2.0, -2.0]))
        result = grid_evidence(model, guide, x, 40_000)
        alone = measure(model, guide, x, method="importance", draws=20_000, prior_share=0.0).evidence.pointwise
    # Midpoints of small squares: the kinks of |z| lie on their borders.
    axis = torch.arange(-6, 6, 0.04) + 0.02
    grid = torch.cartesian_prod(axis, axis)[:, None].expand(-1, len(x), -1)
    truth = log_joint(model, x, {"z": grid}).logsumexp(0) + 2 * math.log(0.04)
    assert result.pointwise_se is not None and (result.pointwise_se < 0.02).all()
    assert ((result.pointwise - truth).abs() < 5 * result.pointwise_se).all()
    assert (alone < truth - 1).all()

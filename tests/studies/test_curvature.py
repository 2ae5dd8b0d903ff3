import pytest
import torch
from ppl_vae.experiments.curved import CurvedSurface
from ppl_vae.models.ppca import Ppca

from ppl_vae.studies.curvature import curvature, mesh
from tests.support.z_test import assert_mean


def test_a_linear_decoder_explains_four_sevenths_of_the_surface():
    surface = CurvedSurface(0.5)
    assert surface.log_scale.exp().item() == pytest.approx(0.5)
    z = torch.randn(100_000, 2)
    x = surface.mean(z)
    assert_mean(x, torch.zeros(5))
    assert_mean(x.square(), torch.tensor([1.0, 1.0, 0.5, 0.5, 0.5]))
    assert_mean((z[:, :, None] * x[:, None, 2:]).flatten(1), torch.zeros(6))
    assert curvature(surface).item() == pytest.approx(3 / 7, abs=0.01)


def test_a_linear_decoder_has_no_curvature_and_hidden_layers_have():
    torch.manual_seed(0)
    assert curvature(Ppca(2, shape=(5,))).item() < 1e-10
    assert curvature(Ppca(2, hidden=2, shape=(5,))).item() > 1e-4


def test_the_mesh_lies_on_the_surface():
    lines = mesh(CurvedSurface(0.5))
    assert lines.shape == (12, 97, 5)
    one, two = lines[..., 0], lines[..., 1]
    torch.testing.assert_close(lines[..., 2], (one**2 - 1) / 2)
    torch.testing.assert_close((one**2 + two**2).sqrt()[:4].mean(1), torch.tensor([0.5, 1.0, 1.5, 2.0]))

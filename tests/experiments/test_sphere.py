import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.models.sphere import Sphere

from ppl_vae.programs.log_weight import log_weight
from ppl_vae.studies.sphere_guides import frames, normal_limit, normal_threshold
from ppl_vae.studies.spheres import best_evidence, best_radius, log_density
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("dimensions", [2, 3, 10])
def test_frames_have_the_moments_of_the_sphere(dimensions):
    x = frames(600, dimensions)
    assert len(x) == 600
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(600))
    torch.testing.assert_close(x.mean(0), torch.zeros(dimensions), atol=1e-12, rtol=0)
    torch.testing.assert_close(x.T @ x / 600, torch.eye(dimensions) / dimensions)
    # Only the moments up to the second are so: each frame is randomly rotated, and its points are uniform.
    assert_mean(x[x[:, 0] > 0][:, :1] ** 4, torch.tensor([3 / (dimensions * (dimensions + 2))]))


@pytest.mark.parametrize("dimensions", [2, 3, 10])
def test_the_best_normal_guide_has_the_bound_it_is_said_to_have(dimensions):
    sigma = 0.6 / math.sqrt(dimensions)
    best = normal_limit(sigma, dimensions)
    model = Sphere(sigma=str(sigma), shape=(dimensions,))
    model.radius.data.fill_(best["radius"])

    def guide(x):
        along = x[:, :, None] * x[:, None]
        covariance = best["across"] * torch.eye(dimensions) + (best["along"] - best["across"]) * along
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(best["mean"] * x, covariance))

    x = torch.nn.functional.normalize(torch.randn(2, dimensions), dim=-1)
    weights = log_weight(model, guide, x, 100_000).detach()
    assert_mean(weights, torch.full((2,), best["elbo"]))
    assert best["elbo"] < best_evidence(1.0, sigma, dimensions)


def test_no_other_normal_guide_does_better():
    """By a grid over guides, with the mean cosine in three dimensions by an integral over the plane."""
    sigma = 0.7 / math.sqrt(3)
    along, across = (np.linspace(-6, 6, 121) + 0.05)[:, None], np.linspace(0, 6, 121)[None, :]
    weight = np.exp(-(along**2 + across**2) / 2) * across
    collapsed, bounds = float(log_density(1.0, 0.0, sigma, 3)), []
    for m in np.linspace(0, 3, 16):
        for a in np.linspace(0.3, 1.1, 9):
            for b in np.linspace(0.3, 1.1, 9):
                z = m + math.sqrt(a) * along
                cosine = (weight * z / np.sqrt(z**2 + b * across**2)).sum() / weight.sum()
                divergence = (m**2 + a - 1 - math.log(a)) / 2 + b - 1 - math.log(b)
                bounds.append(collapsed + cosine**2 / (2 * sigma**2) - divergence)
    best = normal_limit(sigma, 3)["elbo"]
    assert best - 0.02 < max(bounds) < best + 1e-3


def test_the_bound_of_normal_guides_collapses_first():
    for dimensions in (2, 3, 10, 50):
        early, sharp = normal_threshold(dimensions), 1 / math.sqrt(dimensions)
        assert early < sharp
        assert normal_limit(0.99 * early, dimensions)["radius"] > 0
        between = (early + sharp) / 2
        assert normal_limit(between, dimensions)["radius"] == 0 < best_radius(1.0, between, dimensions)
    assert normal_threshold(2) == pytest.approx(math.sqrt(math.pi / 2) / 2)

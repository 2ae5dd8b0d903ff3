"""Four Gaussians in the plane."""

from __future__ import annotations

import math

import torch

from ppl_vae.data import load_corpus
from ppl_vae.data.readers.gaussians import FOUR_GAUSSIANS
from tests.support.z_test import assert_mean


def test_gaussians() -> None:
    corpus = load_corpus("gaussians", validation=0)
    assert [split.values.shape for split in corpus.splits.values()] == [(10_000, 2), (0, 2), (2_000, 2)]
    assert corpus.train.values.dtype == torch.float32
    assert corpus.vocabulary == ()
    for code, centre in enumerate(FOUR_GAUSSIANS):
        points = corpus.train.values[corpus.train.labels == code].double()
        assert_mean(points, torch.tensor(centre, dtype=torch.float64))
        assert_mean((points - torch.tensor(centre)).square(), torch.ones(2, dtype=torch.float64))
    assert_mean(torch.nn.functional.one_hot(corpus.train.labels).double(), torch.full((4,), 0.25).double())


def test_the_figures_of_the_paper_come_out() -> None:
    """Schlesinger, Shekhovtsov and Flach (2021), section 4.1: the negative entropy is -3.65 nats."""
    centres = torch.tensor(FOUR_GAUSSIANS, dtype=torch.float64)
    axis = torch.linspace(-9, 9, 400, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    log_p = (-(x[:, None] - centres).square().sum(-1) / 2).logsumexp(1) - math.log(4 * 2 * math.pi)
    entropy = (log_p.exp() * log_p).sum() * (axis[1] - axis[0]) ** 2
    assert abs(entropy + 3.65) < 0.005

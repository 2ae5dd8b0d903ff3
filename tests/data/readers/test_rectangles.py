"""Rectangles with flipped pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppl_vae.data import load_corpus
from ppl_vae.data.readers.rectangles import rectangle_log_density
from tests.support.z_test import assert_mean


def test_rectangles() -> None:
    corpus = load_corpus("rectangles", validation=0)
    assert (corpus.train.values.shape, corpus.test.values.shape) == ((10_000, 10, 10), (2_000, 10, 10))
    ours = rectangle_log_density(corpus.test.values.numpy())
    assert ours.mean() == pytest.approx(-17.71, abs=0.005)
    # The law holds a part in 3025 of the law of the images that the flips make of one rectangle.
    one = np.zeros((10, 10))
    one[2:5, 3:9] = 1
    flips = np.random.default_rng(1).random((4_000, 10, 10)) < 0.02
    proposal = np.where(flips, np.log(0.02), np.log(0.98)).sum((1, 2))
    weights = np.exp(rectangle_log_density(np.abs(one - flips)) - proposal + np.log(3025))
    assert weights.min() >= 1 - 1e-9
    on = (corpus.test.values != 0).double().mean((1, 2))[:, None]
    assert_mean(on, torch.tensor([0.02 + 0.96 * 0.16]).double())

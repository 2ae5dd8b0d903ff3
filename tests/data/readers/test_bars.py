"""Bars and stripes."""

from __future__ import annotations

import torch

from ppl_vae.data import load_corpus
from tests.support.z_test import assert_mean


def test_bars() -> None:
    corpus = load_corpus("bars", validation=0)
    images = corpus.train.values.reshape(-1, 4, 4)
    across = (images == images[:, :, :1]).all(2).all(1)
    down = (images == images[:, :1]).all(2).all(1)
    assert across[corpus.train.labels == 0].all()
    assert down[corpus.train.labels == 1].all()
    assert len(images.unique(dim=0)) == 30
    assert_mean((across & down).double()[:, None], torch.tensor([1 / 8], dtype=torch.float64))

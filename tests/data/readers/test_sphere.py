"""Points on spheres."""

from __future__ import annotations

import pytest
import torch

from ppl_vae.data import load_corpus
from tests.support.z_test import assert_mean


@pytest.mark.parametrize(("name", "dimensions"), [("sphere2", 2), ("sphere", 3), ("sphere10", 10), ("sphere50", 50)])
def test_spheres(name: str, dimensions: int) -> None:
    corpus = load_corpus(name, validation=0)
    x = corpus.train.values.double()
    assert (x.shape, corpus.train.labels) == ((10_000, dimensions), None)
    torch.testing.assert_close(x.square().sum(1), torch.ones(10_000).double(), atol=1e-6, rtol=0)
    assert_mean(x, torch.zeros(dimensions).double())
    products = (x[:, :, None] * x[:, None]).flatten(1)
    assert_mean(products, torch.eye(dimensions).double().flatten() / dimensions)

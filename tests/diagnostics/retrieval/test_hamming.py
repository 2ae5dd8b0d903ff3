"""Neighbours by every backend, against the definition."""

import importlib.util

import numpy as np
import pytest

from ppl_vae.diagnostics.retrieval import hamming
from ppl_vae.diagnostics.retrieval.codes import Codes
from ppl_vae.diagnostics.retrieval.hamming import distances, nearest

FAISS = pytest.param(
    "faiss",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("faiss") is None, reason="faiss is not installed: pip install 'ppl-vae[search]'"
    ),
)


def random_codes(count: int, bits: int, seed: int = 0) -> Codes:
    return Codes.pack(np.random.default_rng(seed).random((count, bits)) > 0.5)


def by_definition(queries: Codes, database: Codes) -> np.ndarray:
    return (queries.unpack()[:, None] != database.unpack()[None]).sum(-1)


@pytest.mark.parametrize("numpy", ["new", "old"])
@pytest.mark.parametrize("bits", [1, 5, 8, 64, 65, 200])
def test_distances_count_the_bits_that_differ(monkeypatch, numpy, bits):
    if numpy == "old":
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    queries, database = random_codes(7, bits), random_codes(30, bits, 1)
    assert (distances(queries, database) == by_definition(queries, database)).all()


@pytest.mark.parametrize("backend", ["numpy", "auto", FAISS])
@pytest.mark.parametrize("bits", [3, 16, 70])
def test_neighbours_come_by_distance_and_equally_near_ones_by_index(monkeypatch, backend, bits):
    monkeypatch.setattr(hamming, "CELLS", 1000)  # several blocks
    queries, database = random_codes(40, bits), random_codes(300, bits, 1)
    table = by_definition(queries, database)
    found = nearest(queries, database, 25, backend=backend)
    order = np.argsort(table, axis=1, kind="stable")[:, :25]
    assert (found.indices == order).all()
    assert (found.distances == np.take_along_axis(table, order, 1)).all()


@pytest.mark.parametrize("backend", ["numpy", FAISS])
def test_there_are_never_more_neighbours_than_codes(backend):
    found = nearest(random_codes(2, 9), random_codes(4, 9, 1), 100, backend=backend)
    assert found.indices.shape == (2, 4)
    assert sorted(found.indices[0]) == [0, 1, 2, 3]


def test_mistakes_are_answered_in_words(monkeypatch):
    with pytest.raises(ValueError, match="queries have 8 bits but the database 9; encode both by one guide"):
        distances(random_codes(2, 8), random_codes(2, 9))
    with pytest.raises(ValueError, match="queries have 8 bits but the database 16"):
        nearest(random_codes(2, 8), random_codes(2, 16), 1)
    with pytest.raises(ValueError, match="0 neighbours among 2 codes cannot be found"):
        nearest(random_codes(2, 8), random_codes(2, 8), 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="faiss is not installed; pip install "):
        nearest(random_codes(2, 8), random_codes(2, 8), 1, backend="faiss")

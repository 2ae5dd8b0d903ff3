"""Precision of what is retrieved, against its definition by all orders of ties."""

import itertools

import numpy as np
import pytest
import torch

from ppl_vae.diagnostics.retrieval import hamming, ranking, retrieval, tfidf
from ppl_vae.diagnostics.retrieval.codes import Codes
from ppl_vae.diagnostics.retrieval.ranking import by_codes, by_scores, expected_distances, precision_at
from ppl_vae.diagnostics.retrieval.tfidf import TfIdf
from tests.support.small_pairs import BitsOfPoints, documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def test_ties_count_as_in_the_mean_over_all_their_orders():
    distance, relevant = np.array([0, 1, 1, 1, 2, 2]), np.array([1, 0, 1, 1, 1, 0])
    orders = [p for p in itertools.permutations(range(6)) if (np.diff(distance[list(p)]) >= 0).all()]
    found = np.bincount(distance)[None]
    hits = np.bincount(distance, relevant).astype(int)[None]
    for k in range(1, 7):
        mean = np.mean([relevant[list(p[:k])].mean() for p in orders])
        assert precision_at(k, found, hits)[0] == pytest.approx(mean)


def test_codes_and_scores_rank_alike_in_blocks(monkeypatch):
    monkeypatch.setattr(hamming, "CELLS", 200)
    rng = np.random.default_rng(0)
    queries, database = (Codes.pack(rng.random((count, 6)) > 0.5) for count in (30, 80))
    labels, known = torch.randint(3, (30,)), torch.randint(3, (80,))
    by_distance = by_codes(queries, database, labels, known, 12)
    scores = -hamming.distances(queries, database).astype(float)
    other = by_scores([(slice(0, 10), scores[:10]), (slice(10, 30), scores[10:])], labels, known, 12)
    assert torch.allclose(by_distance.precision, other.precision)
    same = labels[:, None] == known
    for radius, (recall, precision) in enumerate(zip(*by_distance.curve.values(), strict=True)):
        within = torch.from_numpy(-scores <= radius)
        assert recall == pytest.approx((within & same).sum().item() / same.sum().item())
        assert precision == pytest.approx((within & same).sum().item() / within.sum().item())
    assert by_distance.distinct == database.distinct


def test_codes_that_are_all_the_same_retrieve_as_chance():
    labels, known = torch.tensor([0, 1]), torch.tensor([0, 0, 0, 1])
    same = [Codes.pack(np.ones((count, 5))) for count in (2, 4)]
    assert by_codes(*same, labels, known, 2).precision.tolist() == [0.75, 0.25]


def test_expected_distances_are_those_of_drawn_codes(monkeypatch):
    monkeypatch.setattr(ranking, "CELLS", 12)
    odds, database = torch.randn(4, 5), Codes.pack(np.random.default_rng(0).random((6, 5)) > 0.5)
    expected = torch.from_numpy(np.concatenate([block for _, block in expected_distances(odds, database)]))
    draws = torch.bernoulli(odds.sigmoid().expand(4000, -1, -1))
    drawn = torch.stack([-torch.from_numpy(hamming.distances(Codes.pack(z), database)).double() for z in draws])
    assert_mean(drawn, expected)


def test_cosines_of_weighted_words(monkeypatch):
    monkeypatch.setattr(tfidf, "CELLS", 10)
    database, queries = documents(6), documents(4)
    dense = [torch.from_numpy(x.to_csr().toarray()).double() for x in (queries, database)]
    rarity = (6 / (dense[1] > 0).sum(0).clamp(min=1)).log()
    rows = [torch.nn.functional.normalize(x * rarity) for x in dense]
    found = np.concatenate([block for _, block in TfIdf(database).similarities(queries)])
    assert torch.allclose(torch.from_numpy(found), rows[0] @ rows[1].T)


def test_a_pair_whose_bits_are_the_class_retrieves_it():
    pair = BitsOfPoints(3)
    pair.weight.data = 50 * torch.eye(3)
    x = torch.tensor([[1.0, 1, 1], [1, -1, 1], [-1, 1, -1]]).repeat(20, 1) + 0.1 * torch.randn(60, 3)
    labels = torch.arange(3).repeat(20)
    found = retrieval.retrieval(pair.model, pair.guide, x[:15], x[15:], labels[:15], labels[15:], k=10)
    means = {name: each.mean for name, each in found.rankings.items()}
    assert means.pop("chance") == pytest.approx(1 / 3)
    assert means["mean-sign"] == means["sampled"] == means["asymmetric"] == 1
    assert "tf-idf" not in means
    assert found.by_label == {"0": 1, "1": 1, "2": 1}
    assert found.rankings["mean-sign"].distinct == 3
    assert set(found.pointwise()) == {"mean_sign", "median", "sampled", "asymmetric", "chance"}
    assert "precision@10 of 15 queries among 45" in str(found)
    with pytest.raises(ValueError, match="the 100 nearest of 45 documents cannot be retrieved; choose k from 1 to 45"):
        retrieval.retrieval(pair.model, pair.guide, x[:15], x[15:], labels[:15], labels[15:])

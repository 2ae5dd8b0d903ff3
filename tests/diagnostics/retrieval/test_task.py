"""The retrieval task: its splits, its baselines, and the tensors that keep rankings."""

import pytest
import torch

from ppl_vae.data.corpus import Corpus, Data
from ppl_vae.data.counts import PackedCounts
from ppl_vae.diagnostics.retrieval.ranking import Ranking
from ppl_vae.diagnostics.retrieval.task import RetrievalTask, ranking_from, tensors_of

SIZES = {"train": 40, "validation": 10, "test": 20}


def corpus(labels: bool = True) -> Corpus:
    """Documents of two words, whose class is the first word's presence."""
    splits = {}
    for name, size in SIZES.items():
        classes = torch.arange(size) % 2
        x = PackedCounts.from_dense(torch.stack([classes, 1 - classes], 1).tolist())
        splits[name] = Data(x, classes if labels else None)
    return Corpus("two", splits)


def test_database_holds_training_and_validation_documents():
    task = RetrievalTask(corpus(), 0, 5, torch.device("cpu"))
    assert len(task.queries) == len(task.labels) == 20
    assert len(task.database) == len(task.database_labels) == 50
    assert task.chance == pytest.approx(0.5)


def test_samples_are_a_fifth_as_many_of_the_other_splits_and_keep_their_labels():
    task = RetrievalTask(corpus(), 20, 5, torch.device("cpu"))
    assert {name: len(x) for name, x in task.x.items()} == {"train": 20, "validation": 4, "test": 4}
    assert torch.equal(torch.from_numpy(task.queries.to_csr().toarray()[:, 0]).long(), task.labels)


def test_cosine_finds_the_class_that_words_tell_and_random_codes_do_not():
    task = RetrievalTask(corpus(), 0, 5, torch.device("cpu"))
    assert ranking_from(task.cosine(), "tf-idf").mean == 1
    torch.manual_seed(0)
    means = [ranking_from(task.random(16), "mean-sign").mean for _ in range(200)]
    mean, error = torch.tensor(means).mean(), torch.tensor(means).std() / len(means) ** 0.5
    assert abs(mean - task.chance) < 5 * error


def test_tensors_keep_a_ranking():
    ranking = Ranking(torch.rand(3), torch.arange(4), torch.arange(4))
    result = ranking_from(tensors_of({"a": ranking, "b": Ranking(torch.rand(2))}), "a")
    assert all(
        torch.equal(getattr(result, name), getattr(ranking, name)) for name in ("precision", "retrieved", "hits")
    )
    assert set(tensors_of({"b": Ranking(torch.rand(2))})) == {"b.precision"}


def test_a_corpus_without_labels_is_refused():
    with pytest.raises(ValueError, match="two: .* take a labelled corpus"):
        RetrievalTask(corpus(labels=False), 0, 5, torch.device("cpu"))

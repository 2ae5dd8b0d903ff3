"""The road from a source to a corpus: words kept, documents held out, empty ones dropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from ppl_vae.data import load_corpus
from ppl_vae.data.inputs import concatenate
from ppl_vae.data.source import Source, SourceSplit, numbered_words
from ppl_vae.data.splits import prepare


def documents(table: object, labels: list[int] | None = None) -> SourceSplit:
    counts = csr_matrix(np.asarray(table))
    titles = tuple(f"document {row}" for row in range(counts.shape[0]))
    return SourceSplit(counts, None if labels is None else np.array(labels), titles)


@pytest.fixture
def source() -> Source:
    rng = np.random.default_rng(0)
    table = 1 + rng.poisson(0.5, (50, 8)) * (rng.random((50, 8)) < 0.5)
    return Source({"train": documents(table, list(range(50)))}, numbered_words(range(8)), numbered_words(range(50)))


def test_words_in_most_documents_are_kept_ties_by_id() -> None:
    train = documents([[9, 1, 0, 1], [0, 1, 1, 0], [0, 1, 1, 1]])
    source = Source({"train": train, "test": train}, ("often", "everywhere", "twice", "also twice"))
    assert prepare("x", source, vocabulary=2, validation=0).vocabulary == ("everywhere", "twice")
    assert prepare("x", source, vocabulary=3, validation=0).vocabulary == ("everywhere", "twice", "also twice")


def test_words_are_chosen_before_validation_is_held_out(source: Source) -> None:
    settings = [(validation, seed) for validation in (0, 0.1, 0.5) for seed in (0, 1)]
    assert len({prepare("x", source, vocabulary=4, validation=v, seed=s).vocabulary for v, s in settings}) == 1


def test_more_words_asked_for_than_there_are(source: Source) -> None:
    corpus = prepare("x", source, vocabulary=100)
    assert len(corpus.vocabulary) == corpus.train.values.vocabulary == 8
    assert any("only 8 words" in note for note in corpus.notes)


def test_word_never_seen_in_training_is_dropped_with_a_note() -> None:
    source = Source({"train": documents([[1, 0, 2]]), "test": documents([[1, 5, 0]])}, ("a", "new", "b"))
    corpus = prepare("x", source, validation=0)
    assert corpus.vocabulary == ("a", "b")
    assert corpus.test.values.lengths.tolist() == [1]
    assert "1 words of test never occur in training: dropped" in corpus.notes


def test_empty_documents_are_dropped_and_labels_and_titles_follow() -> None:
    train = documents([[1, 1], [0, 0], [2, 0]], [0, 1, 2])
    source = Source({"train": train, "test": documents([[0, 4], [1, 0]], [1, 0])}, ("a", "b"), ("p", "q", "r"))
    corpus = prepare("x", source, vocabulary=1, validation=0)
    assert corpus.train.labels is not None and corpus.test.labels is not None
    assert corpus.train.labels.tolist() == [0, 2] and corpus.test.labels.tolist() == [0]
    assert corpus.train.labels.dtype == torch.int64
    assert corpus.train.titles == ("document 0", "document 2") and corpus.test.titles == ("document 1",)
    assert corpus.label_names == ("p", "q", "r")
    assert "1 empty document dropped from train" in corpus.notes
    assert "1 empty document dropped from test after the cut to 1 words" in corpus.notes


def test_same_seed_same_corpus(source: Source) -> None:
    assert prepare("x", source, seed=3).fingerprint == prepare("x", source, seed=3).fingerprint


def test_another_seed_moves_validation_but_never_the_test(source: Source) -> None:
    one, two = prepare("x", source, seed=0), prepare("x", source, seed=1)
    assert one.fingerprint != two.fingerprint
    assert one.test.titles == two.test.titles and one.vocabulary == two.vocabulary
    assert one.validation.titles != two.validation.titles
    assert (len(one.train), len(one.validation), len(one.test)) == (41, 4, 5)


def test_splits_share_no_document_and_lose_none(source: Source) -> None:
    corpus = prepare("x", source)
    titles = (corpus.train.titles or ()) + (corpus.validation.titles or ()) + (corpus.test.titles or ())
    assert sorted(titles) == sorted(source.splits["train"].titles or ())


def test_labels_stay_with_their_documents(source: Source) -> None:
    corpus = prepare("x", source)
    counts = source.splits["train"].values.toarray()
    for data in (corpus.train, corpus.test):
        assert data.labels is not None
        np.testing.assert_array_equal(data.values.to_csr().toarray(), counts[data.labels.numpy()])


def test_own_validation_documents_win() -> None:
    split = documents([[1, 2], [2, 1]])
    source = Source({"train": split, "validation": documents([[3, 3]]), "test": split}, ("a", "b"))
    corpus = prepare("x", source, validation=0.5)
    assert len(corpus.train) == 2 and corpus.validation.values.lengths.tolist() == [6]
    assert any("own validation" in note for note in corpus.notes)


def test_no_validation(source: Source) -> None:
    corpus = prepare("x", source, validation=0)
    assert len(corpus.validation) == 0 and corpus.validation.values.vocabulary == 8
    assert corpus.validation.titles == () and corpus.validation.labels is not None
    assert len(corpus.validation.labels) == 0


def test_global_random_state_is_left_alone(source: Source) -> None:
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    prepare("x", source, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    assert (legacy == np.random.get_state()[1]).all()  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary": 0}, "vocabulary is how many words to keep, at least 1, got 0"),
        ({"vocabulary": 2.5}, "vocabulary is how many words to keep, at least 1, got 2.5"),
        ({"validation": 1.0}, r"fraction of the training documents in \[0, 1\), got 1.0"),
        ({"validation": -0.1}, "got -0.1"),
        ({"validation": float("nan")}, "got nan"),
        ({"seed": -1}, "seed is a whole number of at least 0, got -1"),
    ],
)
def test_arguments_out_of_range(source: Source, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare("x", source, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("train", "test", "split"),
    [([[1, 1]], [[1, 1]], "train"), ([[1, 0]] * 4, [[0, 1]], "test"), ([[0, 0]] * 4, [[0, 0]], "train")],
)
def test_a_split_without_documents_is_an_error(train: object, test: object, split: str) -> None:
    source = Source({"train": documents(train), "test": documents(test)}, ("a", "b"))
    with pytest.raises(ValueError, match=f"mine: no document is left for {split}.*give more documents"):
        prepare("mine", source)


def test_a_tenth_is_the_test_and_seeds_move_only_validation(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(100.0).reshape(50, 2))
    one, two = (load_corpus(str(tmp_path / "x.npy"), seed=seed) for seed in (0, 1))
    assert [len(part) for part in one.splits.values()] == [41, 4, 5]
    assert torch.equal(one.test.values, two.test.values)
    assert not torch.equal(one.validation.values, two.validation.values)
    assert sorted(concatenate([data.values for data in one.splits.values()]).flatten().tolist()) == list(range(100))
    assert one.notes == ("no test split of its own: 5 data, the same for every seed, are the test",)


def test_labels_follow_their_data() -> None:
    held, all_of_it = load_corpus("bars", seed=3), load_corpus("bars", validation=0)
    labels = dict(zip(map(tuple, all_of_it.train.values.tolist()), all_of_it.train.labels.tolist(), strict=True))
    for x, label in zip(held.validation.values.tolist()[:50], held.validation.labels.tolist()[:50], strict=True):
        if len(set(x)) > 1:
            assert labels[tuple(x)] == label


def test_a_single_datum_is_too_few(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1, 2)))
    with pytest.raises(ValueError, match="x.npy: no datum is left for train; give more data"):
        load_corpus(str(tmp_path / "x.npy"))

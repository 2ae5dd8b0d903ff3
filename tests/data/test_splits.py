"""The road from a source to a corpus: words kept, documents held out, empty ones dropped."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.source import Documents, Raw, made_up_words
from ppl_vae.data.splits import prepare


def documents(table: object, labels: list[int] | None = None) -> Documents:
    counts = csr_matrix(np.asarray(table))
    titles = tuple(f"document {row}" for row in range(counts.shape[0]))
    return Documents(counts, None if labels is None else np.array(labels), titles)


@pytest.fixture
def raw() -> Raw:
    rng = np.random.default_rng(0)
    table = 1 + rng.poisson(0.5, (50, 8)) * (rng.random((50, 8)) < 0.5)
    return Raw({"train": documents(table, list(range(50)))}, made_up_words(range(8)), made_up_words(range(50)))


def test_words_in_most_documents_are_kept_ties_by_id() -> None:
    train = documents([[9, 1, 0, 1], [0, 1, 1, 0], [0, 1, 1, 1]])
    raw = Raw({"train": train, "test": train}, ("often", "everywhere", "twice", "also twice"))
    assert prepare("x", raw, vocabulary=2, validation=0).vocabulary == ("everywhere", "twice")
    assert prepare("x", raw, vocabulary=3, validation=0).vocabulary == ("everywhere", "twice", "also twice")


def test_words_are_chosen_before_validation_is_held_out(raw: Raw) -> None:
    chosen = {prepare("x", raw, vocabulary=4, validation=v, seed=s).vocabulary for v in (0, 0.1, 0.5) for s in (0, 1)}
    assert len(chosen) == 1


def test_more_words_asked_for_than_there_are(raw: Raw) -> None:
    corpus = prepare("x", raw, vocabulary=100)
    assert len(corpus.vocabulary) == corpus.train.vocabulary == 8
    assert any("only 8 words" in note for note in corpus.notes)


def test_word_never_seen_in_training_is_dropped_with_a_note() -> None:
    raw = Raw({"train": documents([[1, 0, 2]]), "test": documents([[1, 5, 0]])}, ("a", "new", "b"))
    corpus = prepare("x", raw, validation=0)
    assert corpus.vocabulary == ("a", "b")
    assert corpus.test.lengths.tolist() == [1]
    assert "1 words of test never occur in training: dropped" in corpus.notes


def test_empty_documents_are_dropped_and_labels_and_titles_follow() -> None:
    train = documents([[1, 1], [0, 0], [2, 0]], [0, 1, 2])
    raw = Raw({"train": train, "test": documents([[0, 4], [1, 0]], [1, 0])}, ("a", "b"), ("p", "q", "r"))
    corpus = prepare("x", raw, vocabulary=1, validation=0)
    assert corpus.train_labels is not None and corpus.test_labels is not None
    assert corpus.train_labels.tolist() == [0, 2] and corpus.test_labels.tolist() == [0]
    assert corpus.train_labels.dtype == torch.int64
    assert corpus.train_titles == ("document 0", "document 2") and corpus.test_titles == ("document 1",)
    assert corpus.label_names == ("p", "q", "r")
    assert "1 empty document dropped from train" in corpus.notes
    assert "1 empty document dropped from test after the cut to 1 words" in corpus.notes


def test_same_seed_same_corpus(raw: Raw) -> None:
    assert prepare("x", raw, seed=3).fingerprint == prepare("x", raw, seed=3).fingerprint


def test_another_seed_moves_validation_but_never_the_test(raw: Raw) -> None:
    one, two = prepare("x", raw, seed=0), prepare("x", raw, seed=1)
    assert one.fingerprint != two.fingerprint
    assert one.test_titles == two.test_titles and one.vocabulary == two.vocabulary
    assert one.validation_titles != two.validation_titles
    assert (len(one.train), len(one.validation), len(one.test)) == (41, 4, 5)


def test_splits_share_no_document_and_lose_none(raw: Raw) -> None:
    corpus = prepare("x", raw)
    titles = (corpus.train_titles or ()) + (corpus.validation_titles or ()) + (corpus.test_titles or ())
    assert sorted(titles) == sorted(raw.splits["train"].titles or ())


def test_labels_stay_with_their_documents(raw: Raw) -> None:
    corpus = prepare("x", raw)
    source = raw.splits["train"].counts.toarray()
    for split, labels in ((corpus.train, corpus.train_labels), (corpus.test, corpus.test_labels)):
        assert labels is not None
        np.testing.assert_array_equal(split.to_csr().toarray(), source[labels.numpy()])


def test_own_validation_documents_win() -> None:
    split = documents([[1, 2], [2, 1]])
    raw = Raw({"train": split, "validation": documents([[3, 3]]), "test": split}, ("a", "b"))
    corpus = prepare("x", raw, validation=0.5)
    assert len(corpus.train) == 2 and corpus.validation.lengths.tolist() == [6]
    assert any("own validation" in note for note in corpus.notes)


def test_no_validation(raw: Raw) -> None:
    corpus = prepare("x", raw, validation=0)
    assert len(corpus.validation) == 0 and corpus.validation.vocabulary == 8
    assert corpus.validation_titles == () and corpus.validation_labels is not None
    assert len(corpus.validation_labels) == 0


def test_global_random_state_is_left_alone(raw: Raw) -> None:
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    prepare("x", raw, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    assert (legacy == np.random.get_state()[1]).all()  # type: ignore[index]


def test_fingerprint_sees_counts_words_and_splits() -> None:
    counts, other = PackedCounts.from_dense([[1, 2], [0, 3]]), PackedCounts.from_dense([[1, 2], [0, 4]])
    corpus = Corpus("x", counts, counts[:1], counts[1:], None, None, None, (), ("a", "b"))
    changed = [
        dataclasses.replace(corpus, train=other),
        dataclasses.replace(corpus, validation=counts[1:], test=counts[:1]),
        dataclasses.replace(corpus, vocabulary=("b", "a")),
    ]
    assert len({corpus.fingerprint, *(c.fingerprint for c in changed)}) == 4
    assert dataclasses.replace(corpus, notes=("a note",), name="y").fingerprint == corpus.fingerprint


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
def test_arguments_out_of_range(raw: Raw, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare("x", raw, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("train", "test", "split"),
    [([[1, 1]], [[1, 1]], "train"), ([[1, 0]] * 4, [[0, 1]], "test"), ([[0, 0]] * 4, [[0, 0]], "train")],
)
def test_a_split_without_documents_is_an_error(train: object, test: object, split: str) -> None:
    raw = Raw({"train": documents(train), "test": documents(test)}, ("a", "b"))
    with pytest.raises(ValueError, match=f"mine: no document is left for {split}.*give more documents"):
        prepare("mine", raw)

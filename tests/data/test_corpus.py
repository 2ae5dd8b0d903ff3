"""The fingerprint of a corpus."""

from __future__ import annotations

import dataclasses

import torch

from ppl_vae.data.corpus import Corpus, Data
from ppl_vae.data.counts import PackedCounts


def test_fingerprint_sees_counts_words_and_splits() -> None:
    counts, other = PackedCounts.from_dense([[1, 2], [0, 3]]), PackedCounts.from_dense([[1, 2], [0, 4]])
    splits = {"train": Data(counts), "validation": Data(counts[:1]), "test": Data(counts[1:])}
    corpus = Corpus("x", splits, vocabulary=("a", "b"))
    changed = [
        dataclasses.replace(corpus, splits=splits | {"train": Data(other)}),
        dataclasses.replace(corpus, splits=splits | {"validation": splits["test"], "test": splits["validation"]}),
        dataclasses.replace(corpus, vocabulary=("b", "a")),
    ]
    assert len({corpus.fingerprint, *(c.fingerprint for c in changed)}) == 4
    assert dataclasses.replace(corpus, notes=("a note",), name="y").fingerprint == corpus.fingerprint


def test_the_fingerprint_sees_values_shapes_and_splits() -> None:
    x = torch.arange(12.0).reshape(6, 2)
    splits = {"train": Data(x[:3]), "validation": Data(x[3:4]), "test": Data(x[4:])}
    corpus = Corpus("x", splits)
    changed = [
        dataclasses.replace(corpus, splits=splits | parts)
        for parts in (
            {"train": Data(x[:3] + 1)},
            {"train": Data(x[:3].reshape(3, 2, 1))},
            {"train": Data(x[:2]), "validation": Data(x[2:4])},
            {"train": Data(x[:3].double())},
        )
    ]
    assert len({corpus.fingerprint, *(c.fingerprint for c in changed)}) == 5
    strided = dataclasses.replace(corpus, splits=splits | {"train": Data(x[:3].T.contiguous().T)})
    assert strided.fingerprint == corpus.fingerprint


def test_fingerprints_stay_as_runs_hold_them() -> None:
    """A run's configuration holds the fingerprint of its data, so its value for given data may never change."""
    counts, x = PackedCounts.from_dense([[1, 2], [0, 3]]), torch.arange(6.0).reshape(3, 2)
    text = Corpus("x", dict.fromkeys(("train", "validation", "test"), Data(counts)), vocabulary=("a", "b"))
    numbers = Corpus("x", {"train": Data(x), "validation": Data(x[:0]), "test": Data(x[:1])})
    assert text.fingerprint == "e6f3eb0b2cedb8ab4afd84a4d13127ee09a2285d06e139203b341bd2a0388e57"
    assert numbers.fingerprint == "ca997626725abe9de2c1f7f48af5d90d56476eaba94183efd89df9c15b1f22d0"

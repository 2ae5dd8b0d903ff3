"""Turns a source into a corpus: holds data out, chooses the vocabulary and drops empty documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_vae.data.corpus import Corpus, Data
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, Inputs
from ppl_vae.data.source import Source, SourceSplit, SplitName
from ppl_vae.data.text_file import unquoted

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = [
    "NO_TEST",
    "OWN_VALIDATION",
    "check_arguments",
    "check_documents_left",
    "check_split",
    "choose_words",
    "empty_note",
    "partition",
    "prepare",
    "split_positions",
    "test_positions",
]

_SPLITS: tuple[SplitName, ...] = get_args(SplitName)

Splits = dict[SplitName, SourceSplit]

# The choice of test documents depends on these alone, so results stay comparable whatever the user's seed.
_TEST_FRACTION = 0.1

_TEST_SEED = 20_240_229


def prepare(name: str, source: Source, *, vocabulary: int = 10_000, validation: float = 0.1, seed: int = 0) -> Corpus:
    """Holds data out; of documents, cuts the vocabulary and drops empty ones.

    The vocabulary is the words in the most documents of the whole training split, ties by word id. The validation
    documents are held out of the training documents after that choice; test documents take no part in it.

    Arguments:
        name: What to call the corpus.
        source: One without a test split gives a tenth of its data, always the same ones, to the test.
        vocabulary: Number of words kept, at most: those in most training documents.
        validation: The fraction of the training data to hold out; a source's own validation split wins over it.
        seed: Chooses the validation data, and nothing else.

    Raises:
        ValueError: If an argument is out of range or a split ends without data.
    """
    check_arguments(vocabulary, validation, seed)
    notes = list(source.notes)
    for field, classes in source.classes.items():
        listed = unquoted(", ".join(f"{number} {each}" for number, each in enumerate(classes)), 100)
        notes.append(f"{field} has {len(classes)} classes: {listed}")
    if isinstance(source.splits["train"].values, np.ndarray | dict):
        splits, words = _arrays(name, source, validation, seed, notes), source.words
    else:
        splits, words = _documents(name, source, vocabulary, validation, seed, notes)
    data = {split: _tensors(splits[split]) for split in _SPLITS}
    return Corpus(name, data, source.label_names, words, tuple(notes), classes=source.classes)


def _tensors(split: SourceSplit) -> Data:
    values: Batch
    if isinstance(split.values, dict):
        values = Inputs(**{name: torch.from_numpy(array) for name, array in split.values.items()})
    elif isinstance(split.values, np.ndarray):
        values = torch.from_numpy(split.values)
    else:
        values = PackedCounts.from_csr(split.values)
    return Data(values, None if split.labels is None else torch.from_numpy(split.labels), split.titles)


def _arrays(name: str, source: Source, validation: float, seed: int, notes: list[str]) -> Splits:
    splits = _hold_out_validation(_hold_out_test(source.splits, "data", notes), validation, seed, "data", notes)
    for split in _SPLITS:
        check_split(name, split, len(splits[split]), validation)
    return splits


def check_split(name: str, split: SplitName, left: int, validation: float) -> None:
    """Refuses a split of arrays without data."""
    if not left and (split != "validation" or validation > 0):
        raise ValueError(f"{name}: no datum is left for {split}; give more data or hold fewer out")


def _documents(
    name: str, source: Source, vocabulary: int, validation: float, seed: int, notes: list[str]
) -> tuple[Splits, tuple[str, ...]]:
    # Empty documents go first, so that none of them takes a place among those held out.
    whole = "the source" if "test" not in source.splits else None
    filled = {split: _filled(documents, whole or split, notes) for split, documents in source.splits.items()}
    splits = _hold_out_test(filled, "documents", notes)
    columns = _choose_words(splits, vocabulary, notes)
    splits = _hold_out_validation(splits, validation, seed, "documents", notes)
    cut = {
        split: _filled(
            replace(documents, values=documents.counts[:, columns]),
            f"{split} after the cut to {len(columns):,} words",
            notes,
        )
        for split, documents in splits.items()
    }
    for split in _SPLITS:
        check_documents_left(name, split, len(splits[split]), len(cut[split]), len(columns), validation)
    return cut, tuple(source.words[word] for word in columns)


def check_documents_left(name: str, split: SplitName, before: int, left: int, words: int, validation: float) -> None:
    """Refuses a split without documents after the cut of the vocabulary."""
    if not left and not (split == "validation" and before == 0 and validation == 0):
        raise ValueError(
            f"{name}: no document is left for {split} ({before} before the cut to {words} words, then empty ones were "
            "dropped); give more documents, keep more words or change the validation fraction"
        )


def check_arguments(vocabulary: int, validation: float, seed: int) -> None:
    """Refuses arguments of :func:`prepare` that are out of range."""
    if int(vocabulary) != vocabulary or vocabulary < 1:
        raise ValueError(f"vocabulary is how many words to keep, at least 1, got {vocabulary}")
    if not 0 <= validation < 1:
        raise ValueError(f"validation is a fraction of the training documents in [0, 1), got {validation}")
    if int(seed) != seed or seed < 0:
        raise ValueError(f"seed is a whole number of at least 0, got {seed}")


NO_TEST = "no test split of its own: {} {}, the same for every seed, are the test"

OWN_VALIDATION = "the source's own validation {} are used"


def test_positions(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the data that stay and of those held out for the test, of a source without a test split."""
    return partition(count, _TEST_FRACTION, _TEST_SEED)


def _hold_out_test(splits: Splits, what: str, notes: list[str]) -> Splits:
    if "test" in splits:
        return splits
    train, test = (splits["train"].take(rows) for rows in test_positions(len(splits["train"])))
    notes.append(NO_TEST.format(len(test), what))
    return splits | {"train": train, "test": test}


def _hold_out_validation(splits: Splits, fraction: float, seed: int, what: str, notes: list[str]) -> Splits:
    if "validation" in splits:
        notes.append(OWN_VALIDATION.format(what))
        return splits
    if fraction == 0:
        return splits | {"validation": splits["train"].take(np.zeros(0, dtype=np.int64))}
    train, validation = (splits["train"].take(rows) for rows in partition(len(splits["train"]), fraction, seed))
    return splits | {"train": train, "validation": validation}


def partition(count: int, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the data that stay and of a random fraction of at least one that is held out, both ascending."""
    size = max(1, round(fraction * count)) if count else 0
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[size:]), np.sort(order[:size])


def split_positions(count: int, validation: float, seed: int) -> dict[SplitName, NDArray[np.int64]]:
    """Positions of the training, validation and test data among data without splits of their own.

    Arguments:
        count: Number of data.
        validation: The fraction of the training data to hold out.
        seed: Chooses the validation data; the test data are the same for every seed.

    Raises:
        ValueError: If an argument is out of range, or a split ends without data.
    """
    check_arguments(1, validation, seed)
    train, test = test_positions(count)
    rest, held_out = partition(len(train), validation, seed) if validation else (np.arange(len(train)), train[:0])
    positions: dict[SplitName, NDArray[np.int64]] = {"train": train[rest], "validation": train[held_out], "test": test}
    for name, rows in positions.items():
        if not len(rows) and (name != "validation" or validation > 0):
            raise ValueError(f"of {count} data none is left for {name}; give more data or hold fewer out")
    return positions


def _choose_words(splits: Splits, vocabulary: int, notes: list[str]) -> NDArray[np.int64]:
    frequencies = {name: _document_frequency(documents.counts) for name, documents in splits.items()}
    return choose_words(frequencies, np.asarray(splits["train"].counts.sum(axis=0)).ravel(), vocabulary, notes)


def choose_words(
    frequencies: Mapping[SplitName, NDArray[np.int64]],
    tokens: NDArray[np.floating],
    vocabulary: int,
    notes: list[str],
) -> NDArray[np.int64]:
    """The words that are kept, ascending: those in the most training documents, ties by word id.

    Arguments:
        frequencies: How many documents of each split have each word; the validation data are not held out yet.
        tokens: How often each word occurs in the training documents.
        vocabulary: Number of words kept, at most.
        notes: Takes a line on what is dropped.
    """
    frequency = frequencies["train"]
    known = int((frequency > 0).sum())
    columns = np.sort(np.argsort(-frequency, kind="stable")[: min(vocabulary, known)])
    for split in ("validation", "test"):
        if split in frequencies:
            unseen = int(((frequencies[split] > 0) & (frequency == 0)).sum())
            if unseen:
                notes.append(f"{unseen:,} words of {split} never occur in training: dropped")
    if len(columns) < known:
        share = tokens[columns].sum() / tokens.sum()
        notes.append(f"{len(columns):,} of {known:,} words kept, {share:.1%} of the training tokens")
    elif known < vocabulary:
        notes.append(f"the training documents have only {known:,} words: all are kept")
    return columns


def _document_frequency(counts: csr_matrix) -> NDArray[np.int64]:
    return np.bincount(counts.indices[counts.data > 0], minlength=counts.shape[1])


def empty_note(dropped: int, where: str) -> str:
    """The line on empty documents that are dropped."""
    return f"{dropped:,} empty document{'s' if dropped > 1 else ''} dropped from {where}"


def _filled(documents: SourceSplit, where: str, notes: list[str]) -> SourceSplit:
    filled = np.flatnonzero(np.asarray(documents.counts.sum(axis=1)).ravel() > 0)
    if dropped := len(documents) - len(filled):
        notes.append(empty_note(dropped, where))
    return documents.take(filled)

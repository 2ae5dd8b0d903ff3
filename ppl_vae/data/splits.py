"""Turns a source into a corpus: holds data out, chooses the vocabulary and drops empty documents."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_vae.data.corpus import Corpus, Data
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, Inputs
from ppl_vae.data.source import Source, SourceSplit, SplitName

__all__ = ["prepare", "split_positions"]

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
    _check_arguments(vocabulary, validation, seed)
    notes = list(source.notes)
    if isinstance(source.splits["train"].values, np.ndarray | dict):
        splits, words = _arrays(name, source, validation, seed, notes), source.words
    else:
        splits, words = _documents(name, source, vocabulary, validation, seed, notes)
    data = {split: _tensors(splits[split]) for split in _SPLITS}
    return Corpus(name, data, source.label_names, words, tuple(notes))


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
        if not len(splits[split]) and (split != "validation" or validation > 0):
            raise ValueError(f"{name}: no datum is left for {split}; give more data or hold fewer out")
    return splits


def _documents(
    name: str, source: Source, vocabulary: int, validation: float, seed: int, notes: list[str]
) -> tuple[Splits, tuple[str, ...]]:
    # Empty documents go first, so that none of them takes a place among those held out.
    whole = "the source" if "test" not in source.splits else None
    filled = {
        split: _filled(documents, f"dropped from {whole or split}", notes) for split, documents in source.splits.items()
    }
    splits = _hold_out_test(filled, "documents", notes)
    columns = _choose_words(splits, vocabulary, notes)
    splits = _hold_out_validation(splits, validation, seed, "documents", notes)
    cut = {
        split: _filled(
            replace(documents, values=documents.counts[:, columns]),
            f"dropped from {split} after the cut to {len(columns):,} words",
            notes,
        )
        for split, documents in splits.items()
    }
    for split in _SPLITS:
        if not len(cut[split]) and not (split == "validation" and len(splits[split]) == 0 and validation == 0):
            raise ValueError(
                f"{name}: no document is left for {split} ({len(splits[split])} before the cut to {len(columns)} "
                "words, then empty ones were dropped); give more documents, keep more words or change the validation "
                "fraction"
            )
    return cut, tuple(source.words[word] for word in columns)


def _check_arguments(vocabulary: int, validation: float, seed: int) -> None:
    if int(vocabulary) != vocabulary or vocabulary < 1:
        raise ValueError(f"vocabulary is how many words to keep, at least 1, got {vocabulary}")
    if not 0 <= validation < 1:
        raise ValueError(f"validation is a fraction of the training documents in [0, 1), got {validation}")
    if int(seed) != seed or seed < 0:
        raise ValueError(f"seed is a whole number of at least 0, got {seed}")


def _hold_out_test(splits: Splits, what: str, notes: list[str]) -> Splits:
    if "test" in splits:
        return splits
    train, test = _hold_out(splits["train"], _TEST_FRACTION, _TEST_SEED)
    notes.append(f"no test split of its own: {len(test)} {what}, the same for every seed, are the test")
    return splits | {"train": train, "test": test}


def _hold_out_validation(splits: Splits, fraction: float, seed: int, what: str, notes: list[str]) -> Splits:
    if "validation" in splits:
        notes.append(f"the source's own validation {what} are used")
        return splits
    if fraction == 0:
        return splits | {"validation": splits["train"].take(np.zeros(0, dtype=np.int64))}
    train, validation = _hold_out(splits["train"], fraction, seed)
    return splits | {"train": train, "validation": validation}


def _hold_out(data: SourceSplit, fraction: float, seed: int) -> tuple[SourceSplit, SourceSplit]:
    """The data that stay and a random fraction of at least one that is held out, both in their old order."""
    kept, held_out = _partition(len(data), fraction, seed)
    return data.take(kept), data.take(held_out)


def _partition(count: int, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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
    _check_arguments(1, validation, seed)
    train, test = _partition(count, _TEST_FRACTION, _TEST_SEED)
    rest, held_out = _partition(len(train), validation, seed) if validation else (np.arange(len(train)), train[:0])
    positions: dict[SplitName, NDArray[np.int64]] = {"train": train[rest], "validation": train[held_out], "test": test}
    for name, rows in positions.items():
        if not len(rows) and (name != "validation" or validation > 0):
            raise ValueError(f"of {count} data none is left for {name}; give more data or hold fewer out")
    return positions


def _choose_words(splits: Splits, vocabulary: int, notes: list[str]) -> NDArray[np.int64]:
    train = splits["train"].counts
    frequency = _document_frequency(splits["train"])
    known = int((frequency > 0).sum())
    columns = np.sort(np.argsort(-frequency, kind="stable")[: min(vocabulary, known)])
    for split in ("validation", "test"):
        if split in splits:
            unseen = int(((_document_frequency(splits[split]) > 0) & (frequency == 0)).sum())
            if unseen:
                notes.append(f"{unseen:,} words of {split} never occur in training: dropped")
    if len(columns) < known:
        share = train[:, columns].sum() / train.sum()
        notes.append(f"{len(columns):,} of {known:,} words kept, {share:.1%} of the training tokens")
    elif known < vocabulary:
        notes.append(f"the training documents have only {known:,} words: all are kept")
    return columns


def _document_frequency(documents: SourceSplit) -> NDArray[np.int64]:
    counts = documents.counts
    return np.bincount(counts.indices[counts.data > 0], minlength=counts.shape[1])


def _filled(documents: SourceSplit, what: str, notes: list[str]) -> SourceSplit:
    filled = np.flatnonzero(np.asarray(documents.counts.sum(axis=1)).ravel() > 0)
    dropped = len(documents) - len(filled)
    if dropped:
        notes.append(f"{dropped:,} empty document{'s' if dropped > 1 else ''} {what}")
    return documents.take(filled)

"""From a source as read to a corpus: choose the words, hold documents out, drop what is empty."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.batches import PackedCounts
from ppl_vae.corpora.corpus import Corpus
from ppl_vae.corpora.raw import Documents, Raw, SplitName

__all__ = ["prepare"]

_SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

# The choice of test documents depends on these alone, so results stay comparable whatever the user's seed.
_TEST_FRACTION = 0.1
_TEST_SEED = 20_240_229


def prepare(name: str, raw: Raw, *, vocabulary: int = 10_000, validation: float = 0.1, seed: int = 0) -> Corpus:
    """Cuts the vocabulary, holds out documents and drops empty ones.

    The words kept are those in the most documents of the whole training split, ties by word id. The validation
    documents are training documents by origin and are held out after that choice; test documents take no part in it.

    Arguments:
        name: What to call the corpus.
        raw: The source. One without a test split gives a tenth of its documents, always the same ones, to the test.
        vocabulary: How many words to keep at most.
        validation: The fraction of the training documents to hold out; a source's own validation split wins over it.
        seed: Chooses the validation documents, and nothing else.

    Raises:
        ValueError: If an argument is out of range or a split ends without a document.
    """
    _check_arguments(vocabulary, validation, seed)
    notes = list(raw.notes)
    # Empty documents go first, so that none of them takes a place among those held out.
    own_test = "test" in raw.splits
    splits = {
        split: _filled(documents, f"dropped from {split if own_test else 'the source'}", notes)
        for split, documents in raw.splits.items()
    }
    if not own_test:
        splits["train"], splits["test"] = _hold_out(splits["train"], _TEST_FRACTION, _TEST_SEED)
        notes.append(
            f"no test split of its own: {len(splits['test'])} documents, the same for every seed, are the test"
        )
    kept = _choose_words(splits, vocabulary, notes)
    if "validation" in splits:
        notes.append("the source's own validation documents are used")
    elif validation > 0:
        splits["train"], splits["validation"] = _hold_out(splits["train"], validation, seed)
    else:
        splits["validation"] = splits["train"].take(np.zeros(0, dtype=np.int64))
    cut = {
        split: _filled(
            Documents(documents.counts[:, kept], documents.labels, documents.titles),
            f"dropped from {split} after the cut to {len(kept):,} words",
            notes,
        )
        for split, documents in splits.items()
    }
    for split in _SPLITS:
        if not len(cut[split]) and not (split == "validation" and len(splits[split]) == 0 and validation == 0):
            raise ValueError(
                f"{name}: no document is left for {split} ({len(splits[split])} before the cut to {len(kept)} words, "
                f"then empty ones were dropped); give more documents, keep more words or change the validation fraction"
            )
    packed = {split: PackedCounts.from_csr(cut[split].counts) for split in _SPLITS}
    labels = {split: _labels(cut[split]) for split in _SPLITS}
    return Corpus(
        name,
        **packed,
        train_labels=labels["train"],
        validation_labels=labels["validation"],
        test_labels=labels["test"],
        label_names=raw.label_names,
        vocabulary=tuple(raw.words[word] for word in kept),
        notes=tuple(notes),
        train_titles=cut["train"].titles,
        validation_titles=cut["validation"].titles,
        test_titles=cut["test"].titles,
    )


def _check_arguments(vocabulary: int, validation: float, seed: int) -> None:
    if int(vocabulary) != vocabulary or vocabulary < 1:
        raise ValueError(f"vocabulary is how many words to keep, at least 1, got {vocabulary}")
    if not 0 <= validation < 1:
        raise ValueError(f"validation is a fraction of the training documents in [0, 1), got {validation}")
    if int(seed) != seed or seed < 0:
        raise ValueError(f"seed is a whole number of at least 0, got {seed}")


def _hold_out(documents: Documents, fraction: float, seed: int) -> tuple[Documents, Documents]:
    """The documents that stay and a random fraction of at least one that is held out, both in their old order."""
    size = max(1, round(fraction * len(documents))) if len(documents) else 0
    order = np.random.default_rng(seed).permutation(len(documents))
    return documents.take(np.sort(order[size:])), documents.take(np.sort(order[:size]))


def _choose_words(splits: dict[SplitName, Documents], vocabulary: int, notes: list[str]) -> NDArray[np.int64]:
    train = splits["train"].counts
    frequency = _document_frequency(splits["train"])
    known = int((frequency > 0).sum())
    kept = np.sort(np.argsort(-frequency, kind="stable")[: min(vocabulary, known)])
    for split in ("validation", "test"):
        if split in splits:
            unseen = int(((_document_frequency(splits[split]) > 0) & (frequency == 0)).sum())
            if unseen:
                notes.append(f"{unseen:,} words of {split} never occur in training: dropped")
    if len(kept) < known:
        share = train[:, kept].sum() / train.sum()
        notes.append(f"{len(kept):,} of {known:,} words kept, {share:.1%} of the training tokens")
    elif known < vocabulary:
        notes.append(f"the training documents have only {known:,} words: all are kept")
    return kept


def _document_frequency(documents: Documents) -> NDArray[np.int64]:
    counts = documents.counts
    return np.bincount(counts.indices[counts.data > 0], minlength=counts.shape[1])


def _filled(documents: Documents, what: str, notes: list[str]) -> Documents:
    filled = np.flatnonzero(np.asarray(documents.counts.sum(axis=1)).ravel() > 0)
    dropped = len(documents) - len(filled)
    if dropped:
        notes.append(f"{dropped:,} empty document{'s' if dropped > 1 else ''} {what}")
    return documents.take(filled)


def _labels(documents: Documents) -> Tensor | None:
    return None if documents.labels is None else torch.from_numpy(documents.labels)

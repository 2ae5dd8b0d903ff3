"""What a loader hands over: three splits of packed counts or tensors, and what is known about them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ppl_vae.data.counts import Batch, PackedCounts

__all__ = ["Corpus"]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Data split into training, validation and test data: documents as word counts, or tensors ``(data, *shape)``.

    Every document has at least one word, and every word occurs in the documents the vocabulary was
    chosen on; tensors are finite 32-bit floats. The validation split is empty if it was loaded with ``validation=0``.

    Arguments:
        name: The name or the path the corpus was loaded by.
        train: Training data; documents as counts over the shared vocabulary.
        validation: Data held out of the training data.
        test: Test data; they take no part in any choice.
        train_labels: Class ids, ``(data,)``, int64; ``None`` if the source has no labels.
        validation_labels: The same for the validation data.
        test_labels: The same for the test data.
        label_names: Name of each class id; empty if the source has no labels.
        vocabulary: The words in the order of their ids; empty for tensors.
        notes: Lines for the user about what was dropped or assumed on the way.
        train_titles: A name for each training datum; ``None`` if the source has none.
        validation_titles: The same for the validation data.
        test_titles: The same for the test data.
    """

    name: str
    train: Batch
    validation: Batch
    test: Batch
    train_labels: Tensor | None
    validation_labels: Tensor | None
    test_labels: Tensor | None
    label_names: tuple[str, ...]
    vocabulary: tuple[str, ...]
    notes: tuple[str, ...] = ()
    train_titles: tuple[str, ...] | None = None
    validation_titles: tuple[str, ...] | None = None
    test_titles: tuple[str, ...] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over the data of the three splits and the words.

        Two corpora with the same fingerprint train the same model: labels, titles and notes do not enter.
        """
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            # The size goes first, or entries could move from one array to the next unnoticed.
            for size, array in _parts(split):
                digest.update(f"{size};".encode())
                digest.update(array.cpu().contiguous().numpy().data)
        digest.update("\n".join(self.vocabulary).encode())
        return digest.hexdigest()


def _parts(split: Batch) -> Iterator[tuple[object, Tensor]]:
    if isinstance(split, PackedCounts):
        yield from ((len(array), array) for array in (split.offsets, split.words, split.counts))
    else:
        yield tuple(split.shape), split

"""What a loader hands over: three splits of packed counts, and what is known about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ppl_vae.batches import PackedCounts

__all__ = ["Corpus"]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Documents as word counts, split into training, validation and test documents.

    Every document has at least one word, and every word occurs in the documents the vocabulary was
    chosen on. The validation split has no documents if it was loaded with ``validation=0``.

    Arguments:
        name: The name or the path the corpus was loaded by.
        train: Training documents, counts over the shared vocabulary.
        validation: Documents held out of the training documents.
        test: Test documents; they take no part in any choice.
        train_labels: Class ids, ``(documents,)``, int64; ``None`` if the source has no labels.
        validation_labels: The same for the validation documents.
        test_labels: The same for the test documents.
        label_names: Name of each class id; empty if the source has no labels.
        vocabulary: The words in the order of their ids.
        notes: Lines for the user about what was dropped or assumed on the way.
        train_titles: A name for each training document; ``None`` if the source has none.
        validation_titles: The same for the validation documents.
        test_titles: The same for the test documents.
    """

    name: str
    train: PackedCounts
    validation: PackedCounts
    test: PackedCounts
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
        """SHA-256, in hexadecimal, over the counts of the three splits and the words.

        Two corpora with the same fingerprint train the same model: labels, titles and notes do not enter.
        """
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            for array in (split.offsets, split.words, split.counts):
                # The size goes first, or entries could move from one array to the next unnoticed.
                digest.update(f"{len(array)};".encode())
                digest.update(array.cpu().numpy().tobytes())
        digest.update("\n".join(self.vocabulary).encode())
        return digest.hexdigest()

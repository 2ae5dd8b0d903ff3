"""Data in three splits, as a model trains on them: packed counts or tensors, and what is known about them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, Inputs
from ppl_vae.data.source import SplitName
from ppl_vae.data.tokens import WORD

__all__ = ["Corpus", "Data"]


@dataclass(frozen=True, eq=False)
class Data:
    """One split of a corpus.

    Arguments:
        values: Documents as counts over the corpus's vocabulary, or a tensor ``(data, *shape)``.
        labels: Class ids, ``(data,)``, int64; ``None`` if the source has no labels.
        titles: A name for each datum; ``None`` if the source has none.
    """

    values: Batch
    labels: Tensor | None = None
    titles: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Data split into training, validation and test data: documents as word counts, or tensors ``(data, *shape)``.

    Every document has at least one word, and every word occurs in the documents the vocabulary was
    chosen on; tensors are finite 32-bit floats. The validation split is empty if it was loaded with ``validation=0``.

    Arguments:
        name: The name or the path the corpus was loaded by.
        splits: Training data, the validation data held out of them, and test data, which take no part in any choice,
            in this order.
        label_names: Name of each class id; empty if the source has no labels.
        vocabulary: The words in the order of their ids; empty for tensors.
        notes: Lines for the user about what was dropped or assumed on the way.
        word: What a word of a text is; queries are split by it.
        known_fingerprint: The fingerprint, where it was computed before.
        classes: Names of the classes of fields that are texts in the source, by field.
    """

    name: str
    splits: Mapping[SplitName, Data]
    label_names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    word: re.Pattern[str] = WORD
    known_fingerprint: str | None = None
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def train(self) -> Data:
        """The training data."""
        return self.splits["train"]

    @property
    def validation(self) -> Data:
        """The validation data."""
        return self.splits["validation"]

    @property
    def test(self) -> Data:
        """The test data."""
        return self.splits["test"]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over the data of the three splits and the words.

        Two corpora with the same fingerprint train the same model: labels, titles and notes do not enter.
        """
        if self.known_fingerprint is not None:
            return self.known_fingerprint
        digest = hashlib.sha256()
        for data in (self.train, self.validation, self.test):
            # The size goes first, or entries could move from one array to the next unnoticed.
            for size, array in _arrays(data.values):
                digest.update(f"{size};".encode())
                digest.update(array.cpu().contiguous().numpy().data)
        digest.update("\n".join(self.vocabulary).encode())
        return digest.hexdigest()


def _arrays(values: Batch) -> Iterator[tuple[object, Tensor]]:
    if isinstance(values, Inputs):
        for name, value in values.named().items():
            if isinstance(value, (PackedCounts, Tensor)):
                # The kind, too: a class and its number would train different models.
                kind = "" if isinstance(value, PackedCounts) else value.dtype
                yield from (((name, kind, size), array) for size, array in _arrays(value))
            else:
                yield (name, value), torch.empty(0)
    elif isinstance(values, PackedCounts):
        yield from ((len(array), array) for array in (values.offsets, values.words, values.counts))
    else:
        yield tuple(values.shape), values

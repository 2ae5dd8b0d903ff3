"""Splits and vocabulary of a packed corpus: chosen as those in memory are, some data at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.packed.manifest import COUNTS, FIELD, SplitEntry
from ppl_vae.data.packed.merging import Merged
from ppl_vae.data.packed.split_writer import SplitWriter, parts_of
from ppl_vae.data.packed.stored import StoredArray
from ppl_vae.data.source import SourceSplit, SplitName
from ppl_vae.data.splits import (
    NO_TEST,
    OWN_VALIDATION,
    check_documents_left,
    check_split,
    choose_words,
    empty_note,
    partition,
    test_positions,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["fingerprint", "split_up"]

_SPLITS: tuple[SplitName, ...] = get_args(SplitName)

Places = dict[SplitName, NDArray[np.int8]]
"""Of each split of the source, the number of the split that each of its data belongs to."""


def split_up(
    merged: Merged, folder: Path, name: str, vocabulary: int, validation: float, seed: int
) -> tuple[dict[SplitName, SplitEntry], tuple[str, ...], list[str]]:
    """Writes the splits of a corpus.

    Arguments:
        merged: All its data.
        folder: Folder of the arrays.
        name: What errors call it.
        vocabulary: Number of words kept, at most.
        validation: The fraction of the training data to hold out.
        seed: Chooses the validation data.

    Returns:
        The splits, the words, and lines on what was dropped and assumed.

    Raises:
        ValueError: If a split ends without data.
    """
    what, notes = "documents" if merged.documents else "data", merged.notes
    whole = "the source" if "test" not in merged.splits else None
    notes += [empty_note(count, whole or split) for split, count in merged.empty.items() if count]
    places = {split: np.full(entry.data, _SPLITS.index(split), np.int8) for split, entry in merged.splits.items()}
    if "test" not in merged.splits:
        _, held_out = test_positions(merged.splits["train"].data)
        places["train"][held_out] = _SPLITS.index("test")
        notes.append(NO_TEST.format(len(held_out), what))
    columns = _choose_words(merged, places, vocabulary, notes) if merged.documents else None
    if "validation" in merged.splits:
        notes.append(OWN_VALIDATION.format(what))
    elif validation:
        train = np.flatnonzero(places["train"] == 0)
        places["train"][train[partition(len(train), validation, seed)[1]]] = _SPLITS.index("validation")
    before = {split: sum(int((place == i).sum()) for place in places.values()) for i, split in enumerate(_SPLITS)}
    writers = {split: SplitWriter(folder, split) for split in _SPLITS}
    for target, part in _parts(merged, places):
        cut = part if columns is None else _cut(part, columns)
        writers[target].append(cut)
    splits = {split: writer.close() for split, writer in writers.items()}
    for split, entry in splits.items():
        if columns is None:
            check_split(name, split, entry.data, validation)
        else:
            if dropped := before[split] - entry.data:
                notes.append(empty_note(dropped, f"{split} after the cut to {len(columns):,} words"))
            check_documents_left(name, split, before[split], entry.data, len(columns), validation)
    words = merged.words
    return splits, words if columns is None else tuple(words[column] for column in columns), notes


def _parts(merged: Merged, places: Places) -> Iterator[tuple[SplitName, SourceSplit]]:
    """Pieces of all data with the split that they belong to, and at least an empty one of each split."""
    empty: SourceSplit | None = None
    for split, entry in merged.splits.items():
        start = 0
        for part in parts_of(merged.folder, split, entry, len(merged.words)):
            if empty is None:
                empty = part.take(np.zeros(0, np.int64))
                yield from ((target, empty) for target in _SPLITS)
            of_part = places[split][start : start + len(part)]
            start += len(part)
            for number in np.unique(of_part):
                yield _SPLITS[number], part.take(np.flatnonzero(of_part == number))


def _choose_words(merged: Merged, places: Places, vocabulary: int, notes: list[str]) -> NDArray[np.int64]:
    present = {_SPLITS[number] for place in places.values() for number in np.unique(place)}
    frequencies = {split: np.zeros(len(merged.words), np.int64) for split in _SPLITS if split in present}
    tokens = np.zeros(len(merged.words))
    for split, part in _parts(merged, places):
        if split in frequencies:
            counts = part.counts
            frequencies[split] += np.bincount(counts.indices, minlength=len(tokens))
            if split == "train":
                tokens += np.bincount(counts.indices, counts.data, minlength=len(tokens))
    return choose_words(frequencies, tokens, vocabulary, notes)


def _cut(part: SourceSplit, columns: NDArray[np.int64]) -> SourceSplit:
    """Documents with the words that are kept; those that are empty then are dropped."""
    counts: csr_matrix = part.counts[:, columns]
    cut = replace(part, values=counts)
    return cut.take(np.flatnonzero(np.diff(counts.indptr)))


def fingerprint(folder: Path, splits: Mapping[SplitName, SplitEntry], words: tuple[str, ...]) -> str:
    """The fingerprint that the corpus has in memory (:attr:`ppl_vae.data.corpus.Corpus.fingerprint`)."""
    digest = hashlib.sha256()
    for split, entry in splits.items():
        fields = list(entry.values)
        for array in entry.stored(folder, split):
            name = array.path.name.removeprefix(f"{split}.")[:-4]
            if name not in fields:
                continue
            shape = array.entry.shape
            size: object = shape[0] if name in COUNTS and not name.startswith(FIELD) else shape
            if len(fields) > 1 and name.startswith(FIELD):
                import torch

                size = (name.removeprefix(FIELD), getattr(torch, array.entry.kind), size)
            digest.update(f"{size};".encode())
            for piece in _pieces(array):
                digest.update(np.ascontiguousarray(piece).data)
    digest.update("\n".join(words).encode())
    return digest.hexdigest()


def _pieces(array: StoredArray) -> Iterator[np.ndarray]:
    width = int(np.prod(array.entry.shape[1:]))
    step = max(1, 2**20 // max(1, width))
    for start in range(0, len(array), step):
        yield array[start : start + step]

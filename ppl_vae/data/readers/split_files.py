"""Folders with one file of counts for each split, such as ``train.svm`` and ``test.svm``, and a vocabulary."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.folders import files_in, split_named
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source, SourceSplit, SplitName, numbered_words
from ppl_vae.data.text_file import TextFile
from ppl_vae.data.tokens import class_ids

__all__ = ["READER"]

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FORMS = ("FILE.svm", "FILE.npz", "FILE.ldac", "FILE.csv", "docword.NAME.txt")
"""Forms of files that may be split so."""

_NUMBERED = re.compile(r"word ([0-9]+)")


def _parts(folder: Path) -> dict[SplitName, Path]:
    """The file of each split; none where a split has several, or there is no training data."""
    from ppl_vae.data.load import corpora, find_reader

    readers = [reader for name, reader in corpora().items() if name in FORMS]
    found: dict[SplitName, Path] = {}
    for path in files_in(folder):
        inner = path.relative_to(folder)
        splits = {split for token in re.split(r"[/._-]", str(inner)) if (split := split_named(token))}
        if len(splits) != 1 or len(inner.parts) > 2 or not any(reader.recognises(path) for reader in readers):
            continue
        if (split := splits.pop()) in found:
            return {}
        found[split] = path
    counts = all(find_reader(str(path)).name in FORMS for path in found.values())  # tables of numbers are none
    return found if "train" in found and len(found) > 1 and counts else {}


def holds_split_files(folder: Path) -> bool:
    """Whether a folder has one file of counts for training, and one for another split."""
    return folder.is_dir() and bool(_parts(folder))


def read_split_files(folder: Path) -> Source:
    """Reads each file as its form is read, and joins their words and labels by name.

    Words that are only numbered are named by the lines of ``vocabulary.txt``, ``vocab.txt``, ``vocab.NAME.txt`` or
    ``NAME.vocab`` in the folder.

    Raises:
        ValueError: If a file is damaged or has splits of its own, or a number has no line in the vocabulary.
    """
    from ppl_vae.data.load import find_reader

    sources: dict[SplitName, Source] = {}
    for split, path in _parts(folder).items():
        source = find_reader(str(path)).read(path)
        if not isinstance(source, Source) or len(source.splits) > 1:
            raise ValueError(f"{path} has splits of its own; give that file alone")
        sources[split] = source
    words = tuple(dict.fromkeys(word for source in sources.values() for word in source.words))
    numbers = [int(match[1]) for word in words if (match := _NUMBERED.fullmatch(word))]
    numbered = len(numbers) == len(words)
    if numbered:
        words = numbered_words(np.unique(numbers))
    labels = [
        [source.label_names[place] for place in ids.tolist()]
        for source in sources.values()
        if (ids := source.splits["train"].labels) is not None
    ]
    ids, classes = (
        class_ids([label for each in labels for label in each]) if len(labels) == len(sources) else (None, ())
    )
    ends = np.cumsum([len(each) for each in labels])[:-1]
    parts = [None] * len(sources) if ids is None else np.split(ids, ends)
    column = {word: place for place, word in enumerate(words)}
    splits = {
        split: SourceSplit(_renumbered(source, column), part, source.splits["train"].titles)
        for (split, source), part in zip(sources.items(), parts, strict=True)
    }
    notes = tuple(dict.fromkeys(note for source in sources.values() for note in source.notes))
    if numbered and (vocabulary := _vocabulary(folder)) is not None:
        words, notes = _named(vocabulary, sorted(set(numbers))), tuple(note for note in notes if "named by" not in note)
    return Source(splits, words, classes, notes)


def _renumbered(source: Source, column: dict[str, int]) -> csr_matrix:
    from scipy.sparse import coo_matrix

    entries = source.splits["train"].counts.tocoo()
    places: NDArray[np.int64] = np.array([column[word] for word in source.words], dtype=np.int64)
    return coo_matrix((entries.data, (entries.row, places[entries.col])), (entries.shape[0], len(column))).tocsr()


def _vocabulary(folder: Path) -> Path | None:
    names = re.compile(r"vocab(ulary)?(\..*)?\.txt|.*\.vocab", re.IGNORECASE)
    return next((path for path in files_in(folder) if names.fullmatch(path.name)), None)


def _named(path: Path, numbers: list[int]) -> tuple[str, ...]:
    lines = TextFile.open(path).names("word", distinct=True)
    start = 0 if numbers and numbers[0] == 0 else 1
    if numbers and numbers[-1] - start >= len(lines):
        raise ValueError(f"{path} has {len(lines)} words, and there is a word {numbers[-1]}; give one word per line")
    return tuple(lines[number - start] for number in numbers)


READER = Reader(
    "SPLITS/",
    "one file of counts or texts for each split, such as train.svm and test.svm, with vocabulary.txt beside them",
    PackedCounts,
    read_split_files,
    matches=holds_split_files,
)

"""Folders with one file for each split, such as ``train.svm`` and ``test.svm``: counts, or tables of numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.folders import files_in, split_named
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source, SourceSplit, SplitName, numbered_words
from ppl_vae.data.text_file import TextFile, shown
from ppl_vae.data.tokens import class_ids

__all__ = ["FORMS", "READERS"]

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FORMS = ("FILE.svm", "FILE.npz", "FILE.ldac", "FILE.csv", "docword.NAME.txt")
"""Forms of files of documents that may be split so."""

TABLES = ("TABLE.csv",)
"""Forms of files of numbers that may be split so."""

_NUMBERED = re.compile(r"word ([0-9]+)")


def _parts(folder: Path, forms: Sequence[str] = FORMS) -> dict[SplitName, Path]:
    """The file of each split; none where a split has several, or there is no training data."""
    from ppl_vae.data.load import corpora, find_reader

    readers = [reader for name, reader in corpora().items() if name in forms]
    found: dict[SplitName, Path] = {}
    for path in files_in(folder):
        inner = path.relative_to(folder)
        splits = {split for token in re.split(r"[/._-]", str(inner)) if (split := split_named(token))}
        if len(splits) != 1 or len(inner.parts) > 2 or not any(reader.recognises(path) for reader in readers):
            continue
        if (split := splits.pop()) in found:
            return {}
        found[split] = path
    fit = all(find_reader(str(path)).name in forms for path in found.values())  # texts and numbers end alike
    return found if "train" in found and len(found) > 1 and fit else {}


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
    return _joined(folder, _read(_parts(folder)))


def holds_split_tables(folder: Path) -> bool:
    """Whether a folder has one table of numbers for training, and one for another split."""
    return folder.is_dir() and bool(_parts(folder, TABLES))


def read_split_tables(folder: Path, counts: bool = False, missing: bool = False, fields: str = "") -> Source:
    """Reads each table as one file of its form is read; their columns are the same, in any order.

    Arguments:
        folder: The folder.
        counts: Whether the numbers are counts, for models of documents, the columns their words; set by the model.
        missing: Whether NaN is allowed: a value that is missing, which the model masks.
        fields: Names of the arguments of the model, separated by commas. If it has several and they are columns, each
            is such an argument; otherwise all columns of numbers are its one argument.

    Raises:
        ValueError: If a table is damaged, has splits of its own or other columns than that of the training data.
    """
    paths = _parts(folder, TABLES)
    sources = _read(paths, counts=counts, missing=missing, fields=fields)
    if counts:
        return _joined(folder, sources)
    names = sources["train"].words
    splits = dict[SplitName, SourceSplit]()
    ids, classes = _labels(sources)
    every = _all_classes(sources)
    for split, source in sources.items():
        if apart := sorted(set(source.words) ^ set(names)):
            raise ValueError(
                f"{paths[split]} and {paths['train'].name} do not have the same columns: {shown(apart[0])} is in one "
                "only; give both the same"
            )
        part = _same_classes(source, every)
        order = [source.words.index(name) for name in names]
        values = part.array[:, order] if names and not isinstance(part.values, dict) else part.values
        splits[split] = SourceSplit(values, ids[split], part.titles)
    notes = tuple(dict.fromkeys(note for source in sources.values() for note in source.notes))
    return Source(splits, names, classes, notes, every)


def _all_classes(sources: Mapping[SplitName, Source]) -> dict[str, tuple[str, ...]]:
    """Names of the classes of each field of texts, in all tables together."""
    names = {name for source in sources.values() for name in source.classes}
    return {
        name: tuple(sorted({each for source in sources.values() for each in source.classes.get(name, ())}))
        for name in names
    }


def _same_classes(source: Source, every: Mapping[str, tuple[str, ...]]) -> SourceSplit:
    """The data of one table, its classes numbered as those of all tables together."""
    part = source.splits["train"]
    if not isinstance(part.values, dict):
        return part
    numbered = {
        name: np.array([every[name].index(each) for each in classes], dtype=np.int64)[part.values[name]]
        for name, classes in source.classes.items()
    }
    return replace(part, values={**part.values, **numbered})


def _read(paths: Mapping[SplitName, Path], **options: object) -> dict[SplitName, Source]:
    """The source of each file.

    Raises:
        ValueError: If a file is damaged or has splits of its own.
    """
    from ppl_vae.data.load import find_reader

    sources = dict[SplitName, Source]()
    for split, path in paths.items():
        source = find_reader(str(path)).read(path, **options)
        if not isinstance(source, Source) or len(source.splits) > 1:
            raise ValueError(f"{path} has splits of its own; give that file alone")
        sources[split] = source
    return sources


def _labels(sources: Mapping[SplitName, Source]) -> tuple[dict[SplitName, NDArray[np.int64] | None], tuple[str, ...]]:
    """Class ids of each split, by the names of the classes of all; none where a split has no labels."""
    labels = [
        [source.label_names[place] for place in ids.tolist()]
        for source in sources.values()
        if (ids := source.splits["train"].labels) is not None
    ]
    if len(labels) < len(sources):
        return dict.fromkeys(sources), ()
    ids, classes = class_ids([label for each in labels for label in each])
    ends = np.cumsum([len(each) for each in labels])[:-1]
    return dict(zip(sources, np.split(ids, ends), strict=True)), classes


def _joined(folder: Path, sources: Mapping[SplitName, Source]) -> Source:
    """Documents of several sources as splits of one, their words by name."""
    words = tuple(dict.fromkeys(word for source in sources.values() for word in source.words))
    numbers = [int(match[1]) for word in words if (match := _NUMBERED.fullmatch(word))]
    numbered = len(numbers) == len(words)
    if numbered:
        words = numbered_words(np.unique(numbers))
    ids, classes = _labels(sources)
    column = {word: place for place, word in enumerate(words)}
    splits = {
        split: SourceSplit(_renumbered(source, column), ids[split], source.splits["train"].titles)
        for split, source in sources.items()
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


READERS = (
    Reader(
        "SPLITS/",
        "one file of counts or texts for each split, such as train.svm and test.svm, with vocabulary.txt beside them",
        PackedCounts,
        read_split_files,
        matches=holds_split_files,
    ),
    Reader(
        "TABLES/",
        "one table of numbers for each split, such as train.csv and test.csv",
        Tensor,
        read_split_tables,
        matches=holds_split_tables,
    ),
)

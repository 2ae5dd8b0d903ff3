"""Packs corpora of any size into folders of arrays, reading their sources once."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ppl_vae.data.files import atomic_write, remove_strays, scratch_name
from ppl_vae.data.load import reader_options
from ppl_vae.data.packed.manifest import MANIFEST, Manifest
from ppl_vae.data.packed.merging import Merged
from ppl_vae.data.packed.splitting import fingerprint, split_up
from ppl_vae.data.source import Source, SplitName
from ppl_vae.data.splits import check_arguments
from ppl_vae.data.tokens import WORD

__all__ = ["Packed", "pack"]


@dataclass(frozen=True)
class Packed:
    """A corpus that was packed.

    Arguments:
        folder: Its folder, which ``load_corpus`` and ``--corpus`` take.
        data: Number of data by split.
        words: Size of the vocabulary of documents; 0 of arrays.
        bytes: Size of its files.
        notes: What was dropped or assumed on the way.
    """

    folder: Path
    data: dict[str, int]
    words: int
    bytes: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """The result as JSON holds it."""
        names = ("data", "words", "bytes", "notes")
        return {"folder": str(self.folder), **{name: getattr(self, name) for name in names}}

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in self.data.items())
        words = f" over {self.words:,} words" if self.words else ""
        lines = [f"{self.folder}: {counts} data{words}, {self.bytes / 2**20:,.1f} MB"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    @property
    def next_step(self) -> str:
        """The command that reads it."""
        return f"ppl-vae train MODEL --corpus {self.folder}"


def pack(
    corpora: str | Path | Sequence[str | Path] | Iterable[Source],
    out: str | Path,
    *,
    vocabulary: int = 10_000,
    validation: float = 0.1,
    seed: int = 0,
    **options: int | float | bool | str,
) -> Packed:
    """Writes data into a folder from which models train without holding them in memory.

    The sources are read once, one part after the other: of several files each is a part, of a Parquet table each row
    group, of an array in a ``.npy`` some rows; a part must fit into memory. Parts are joined by the names of their
    words and labels. Then splits and vocabulary are chosen as :func:`~ppl_vae.data.load.load_corpus` chooses them, and
    the result is the same corpus, with the same fingerprint; a second copy lies on the disk meanwhile. Numbers are
    stored in the narrowest type that holds them all exactly.

    Arguments:
        corpora: Named corpora or paths of files or folders; in Python also sources, such as a generator of them.
        out: The folder to make.
        vocabulary: Number of words kept, at most: those in most training documents.
        validation: The fraction of the training data to hold out; a source's own validation split wins over it.
        seed: Chooses the validation data.
        options: Those of the readers.

    Raises:
        ValueError: If the folder exists or cannot be written, a source cannot be read, the parts do not fit each other,
            an argument is out of range, or a split ends without data.

    Example:
        >>> import tempfile
        >>> from ppl_vae.data.load import load_corpus
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     packed = pack("bars", Path(folder) / "bars")
        ...     corpus = load_corpus(str(packed.folder))
        ...     print(corpus.train.values, corpus.fingerprint == load_corpus("bars").fingerprint)
        MappedTensor(float32 (9000, 16)) True
    """
    folder = Path(out)
    check_arguments(vocabulary, validation, seed)
    remove_strays(folder.parent, below=False)  # also of a command that was killed once its folder was whole
    if folder.exists():
        raise ValueError(f"{folder} exists already; choose another folder, or remove it first")
    scratch = folder.parent / scratch_name()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        result = _packed(_sources(corpora, options), scratch, folder, vocabulary, validation, seed)
        os.replace(scratch / "packed", folder)
    except OSError as error:
        raise ValueError(f"{folder} cannot be packed ({error}); make room, or choose another folder") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return result


def _packed(
    sources: Iterable[tuple[str, re.Pattern[str], Source]],
    scratch: Path,
    out: Path,
    vocabulary: int,
    validation: float,
    seed: int,
) -> Packed:
    (scratch / "packed").mkdir(parents=True)
    merged, word = Merged(scratch), None
    for name, pattern, source in sources:
        merged.add(name, source)
        word = word or pattern
    merged.close()
    folder = scratch / "packed"
    splits, words, notes = split_up(merged, folder, str(out), vocabulary, validation, seed)
    shape = f"split when it was packed (--validation {validation:g} --seed {seed})"
    names: tuple[SplitName, ...] = get_args(SplitName)
    manifest = Manifest(
        kind="documents" if merged.documents else "array" if len(splits["train"].values) == 1 else "fields",
        fingerprint=fingerprint(folder, splits, words),
        splits={split: splits[split] for split in names},
        label_names=merged.label_names,
        vocabulary=words,
        notes=(*notes, shape),
        word=((word or WORD).pattern, (word or WORD).flags),
    )
    atomic_write(folder / MANIFEST, manifest.content())
    size = sum(file.stat().st_size for file in folder.iterdir())
    return Packed(
        out, {split: splits[split].data for split in names}, len(words) if merged.documents else 0, size, manifest.notes
    )


def _sources(
    corpora: Any, options: dict[str, int | float | bool | str]
) -> Iterator[tuple[str, re.Pattern[str], Source]]:
    """The parts of all corpora, with the name of the corpus and what a word of its texts is."""
    if isinstance(corpora, str | Path):
        corpora = [corpora]
    for place, given in enumerate(corpora, 1):
        if isinstance(given, Source):
            yield f"source {place}", WORD, given
            continue
        reader, chosen = reader_options(str(given), options)
        chosen.pop("vocabulary", None)
        if reader.prepared:
            raise ValueError(f"{given} is packed already; load it, or pack what it was packed from")
        where = None if reader.named else Path(given)
        try:
            yield from ((str(given), reader.word, part) for part in _parts(reader, where, chosen))
        except OSError as error:
            raise ValueError(f"{given} cannot be read ({error}); check the path and its permissions") from error


def _parts(reader: Any, where: Path | None, options: dict[str, Any]) -> Iterator[Source]:
    if reader.parts is not None:
        yield from reader.parts(where, **options)
    else:
        yield reader.read(where, **options)

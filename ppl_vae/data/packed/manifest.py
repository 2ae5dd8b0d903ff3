"""The manifest of a packed corpus: what its folder holds, under a seal."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from ppl_vae.data.corpus import Corpus, Data
from ppl_vae.data.inputs import Batch, Inputs
from ppl_vae.data.packed.mapped import MappedCounts, MappedTensor
from ppl_vae.data.packed.stored import ArrayEntry, StoredArray
from ppl_vae.data.source import SplitName
from ppl_vae.data.text_file import shown

__all__ = ["FIELD", "MANIFEST", "Manifest", "SplitEntry", "Titles"]

MANIFEST = "packed-corpus.json"
"""Name of the file by which the folder is known."""

FORMAT = "ppl-vae packed corpus 1"

COUNTS = ("offsets", "words", "counts")
"""Arrays of documents, those of :class:`~ppl_vae.data.counts.PackedCounts`."""

FIELD = "field-"
"""Begins the names of arrays that are fields, so that one may be called ``labels``."""

_REMEDY = "pack the corpus again with ppl-vae data pack, or restore the folder"


@dataclass(frozen=True)
class SplitEntry:
    """One split.

    Arguments:
        data: Number of data.
        values: Its arrays by name: those of documents, or ``field-NAME`` of each field, ``field-x`` of a single one.
        labels: Class ids.
        titles: ``bytes`` and ``offsets`` of the names of data.
    """

    data: int
    values: dict[str, ArrayEntry]
    labels: ArrayEntry | None = None
    titles: dict[str, ArrayEntry] = field(default_factory=dict)

    def stored(self, folder: Path, split: str) -> Iterator[StoredArray]:
        """All its arrays, named ``SPLIT.ARRAY.npy``."""
        for name, entry in self.values.items():
            yield StoredArray(folder / f"{split}.{name}.npy", entry)
        if self.labels is not None:
            yield StoredArray(folder / f"{split}.labels.npy", self.labels)
        for name, entry in self.titles.items():
            yield StoredArray(folder / f"{split}.titles-{name}.npy", entry)


@dataclass(frozen=True)
class Manifest:
    """What a packed corpus holds.

    Arguments:
        kind: Documents, an array, or several fields.
        fingerprint: That of the corpus, as it would have in memory.
        splits: Splits by name.
        label_names: Name of each class id.
        vocabulary: Words of documents.
        notes: Lines for the user.
        word: Pattern of a word of a text, and its flags.
    """

    kind: Literal["documents", "array", "fields"]
    fingerprint: str
    splits: dict[SplitName, SplitEntry]
    label_names: tuple[str, ...]
    vocabulary: tuple[str, ...]
    notes: tuple[str, ...]
    word: tuple[str, int]

    def content(self) -> bytes:
        """The manifest as its file holds it."""
        body = {"format": FORMAT, **asdict(self)}
        return json.dumps(body | {"seal": _seal(body)}, indent=1).encode()

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder, whose arrays are not looked at.

        Raises:
            ValueError: If it is missing or damaged.
        """
        path = folder / MANIFEST
        try:
            body = json.loads(path.read_bytes())
            seal = body.pop("seal") if isinstance(body, dict) else None
            if seal is None or seal != _seal(body):
                raise ValueError("its seal does not fit it")
            if (form := body.pop("format")) != FORMAT:
                raise ValueError(f"its format is {shown(form, 40)}, this version reads {FORMAT!r}")
            manifest = msgspec.convert(body, cls)
            manifest._check()
        except (OSError, ValueError, KeyError, RecursionError, MemoryError) as error:
            reason = shown(str(error), 200)
            raise ValueError(f"{path} is damaged or no manifest ({reason}); {_REMEDY}") from error
        return manifest

    def _check(self) -> None:
        """Refuses a manifest whose parts do not fit each other."""
        if set(self.splits) != set(get_args(SplitName)):
            raise ValueError(f"its splits are {', '.join(self.splits) or 'none'}")
        for name, split in self.splits.items():
            documents = self.kind == "documents"
            if documents and tuple(split.values) != COUNTS or not split.values:
                raise ValueError(f"the arrays of {name} are {', '.join(split.values) or 'none'}")
            entries = [split.labels, *split.values.values(), *split.titles.values()]
            if any(not entry.shape or min(entry.shape) < 0 for entry in entries if entry is not None):
                raise ValueError(f"an array of {name} has no such shape")
            rows = [*split.values.values()] if not documents else []
            rows += [] if split.labels is None else [split.labels]
            ends = [split.values["offsets"]] if documents else []
            ends += [split.titles["offsets"]] if split.titles else []
            if any(entry.shape[0] != split.data for entry in rows) or any(e.shape != (split.data + 1,) for e in ends):
                raise ValueError(f"the arrays of {name} have other lengths than {split.data}")
            if documents and split.values["words"].shape != split.values["counts"].shape:
                raise ValueError(f"words and counts of {name} are of different length")
            if not documents and not all(part.removeprefix(FIELD).isidentifier() for part in split.values):
                raise ValueError(f"a field of {name} has a name that no argument has")
        re.compile(self.word[0], self.word[1])

    def corpus(self, name: str, folder: Path, fields: Sequence[str] = ()) -> Corpus:
        """The corpus, after size, header and checksum of every array are compared.

        Arguments:
            name: What to call it.
            folder: Its folder.
            fields: The fields to read, where there are several; all by default.

        Raises:
            ValueError: If a file is missing or damaged, or there are no such fields.
        """
        for split, entry in self.splits.items():
            for array in entry.stored(folder, split):
                array.check()
        data = {split: self._data(split, folder, fields) for split in get_args(SplitName)}
        pattern = re.compile(self.word[0], self.word[1])
        return Corpus(name, data, self.label_names, self.vocabulary, self.notes, pattern, self.fingerprint)

    def _data(self, split: SplitName, folder: Path, fields: Sequence[str]) -> Data:
        entry = self.splits[split]
        stored = {array.path.name.removeprefix(f"{split}.")[:-4]: array for array in entry.stored(folder, split)}
        labels = stored.pop("labels", None)
        titles = {key: stored.pop(f"titles-{key}") for key in entry.titles}
        values: Batch
        if self.kind == "documents":
            values = MappedCounts(stored, len(self.vocabulary))
        else:
            stored = {key.removeprefix(FIELD): array for key, array in stored.items()}
            if missing := [each for each in fields if each not in stored and self.kind == "fields"]:
                raise ValueError(
                    f"{folder} has the fields {', '.join(stored)}, and the model takes {', '.join(missing)}; pack the "
                    "corpus again with --fields"
                )
            several = self.kind == "fields"
            chosen = {key: MappedTensor.of(a) for key, a in stored.items() if not (fields and several) or key in fields}
            values = Inputs(**chosen) if len(chosen) > 1 else next(iter(chosen.values()))
        return Data(
            values,
            None if labels is None else MappedTensor.of(labels),
            Titles(titles["bytes"], titles["offsets"]) if titles else None,
        )


class Titles(Sequence[str]):
    """Names of data, read as they are asked for.

    Arguments:
        text: Their UTF-8 bytes, one behind the other.
        offsets: Where each begins, and the end of the last.
    """

    def __init__(self, text: StoredArray, offsets: StoredArray) -> None:
        self.text, self.offsets = text, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        start, end = self.offsets[place : place + 2].tolist()
        return self.text[start:end].astype("u1").tobytes().decode(errors="replace")


def _seal(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

"""Folders and archives in the Matlab/Octave layout of 20 Newsgroups: triplets, labels and a map of class names.

Lang, "NewsWeeder: learning to filter netnews" (1995); the layout is that of Rennie's "bydate" files.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source, SourceSplit, SplitName, numbered_words
from ppl_vae.data.text_file import TextFile, first_wrong, reason, shown
from ppl_vae.data.triplets import read_triplets

__all__ = ["READERS", "is_matlab_folder", "read_matlab"]

_NEEDED = ("train.data", "train.label", "test.data", "test.label")

_OPTIONAL = ("train.map", "train.docs", "test.docs", "vocabulary.txt")

_SPLITS: tuple[SplitName, ...] = ("train", "test")


def is_matlab_folder(folder: Path) -> bool:
    """Whether a folder holds training triplets."""
    return any((folder / f"train.data{ending}").is_file() for ending in ("", ".gz"))


def read_matlab(path: Path) -> Source:
    """Reads ``{train,test}.{data,label}`` and, if present, the maps, the titles and the words.

    Arguments:
        path: A folder with the files, gzipped or not, or a ``.tgz`` of such a folder, which is read in place.
            ``vocabulary.txt``, one word per line, may also lie beside the folder or the archive.

    Raises:
        ValueError: If a file is missing or malformed.
    """
    files = _in_folder(path) if path.is_dir() else _in_archive(path)
    absent = [name for name in _NEEDED if name not in files]
    if absent:
        raise ValueError(
            f"{path} lacks {', '.join(absent)}; put back all files of the Matlab layout or download it again"
        )
    counts, labels = {}, {}
    words = files["vocabulary.txt"].names("word", distinct=True) if "vocabulary.txt" in files else None
    names = _class_names(files["train.map"]) if "train.map" in files else None
    for split in _SPLITS:
        labels[split] = _class_ids(files[f"{split}.label"], names)
        counts[split] = read_triplets(
            files[f"{split}.data"], documents=len(labels[split]), words=None if words is None else len(words)
        )
    width = max(matrix.shape[1] for matrix in counts.values())
    splits: dict[SplitName, SourceSplit] = {}
    for split in _SPLITS:
        counts[split].resize(len(labels[split]), width)
        titles = files[f"{split}.docs"].names("title") if f"{split}.docs" in files else None
        if titles is not None and len(titles) != len(labels[split]):
            raise ValueError(
                f"{files[f'{split}.docs'].where} has {len(titles)} titles for {len(labels[split])} documents; "
                "give one title per document or remove the file"
            )
        splits[split] = SourceSplit(counts[split], labels[split], titles)
    if names is None:
        names = tuple(f"class {i}" for i in range(1, 2 + max(int(ids.max(initial=-1)) for ids in labels.values())))
    notes = () if words else (f"{path} has no vocabulary.txt: words are named by their ids",)
    return Source(splits, words or numbered_words(range(1, width + 1)), names, notes)


def _in_folder(folder: Path) -> dict[str, TextFile]:
    places = {name: [folder] for name in _NEEDED + _OPTIONAL}
    # The original archive unpacks to 20news-bydate/matlab/, and its list of words is downloaded beside either folder.
    places["vocabulary.txt"] += [folder.parent] + [folder.parent.parent] * (folder.name == "matlab")
    files = {}
    for name, folders in places.items():
        candidates = [place / f"{name}{ending}" for place in folders for ending in ("", ".gz")]
        file = next((path for path in candidates if path.is_file()), None)
        if file is not None:
            files[name] = TextFile.open(file)
    return files


def _in_archive(path: Path) -> dict[str, TextFile]:
    import tarfile

    files, found = dict[str, TextFile](), dict[str, TextFile]()
    beside = path.parent / "vocabulary.txt"
    if beside.is_file():
        files["vocabulary.txt"] = TextFile.open(beside)
    content = TextFile.open(path).content
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                # Members are read into memory and never written; a path that leads elsewhere is no archive of data.
                parts = PurePosixPath(member.name).parts
                if not (member.isreg() or member.isdir()) or member.issparse() or {"..", "/"} & set(parts):
                    raise tarfile.ExtractError(f"{shown(member.name)} is a link, a device or lies outside of it")
                name = parts[-1].removesuffix(".gz") if parts else ""
                stream = archive.extractfile(member)
                if stream is None or name not in _NEEDED + _OPTIONAL:
                    continue
                if name in found:
                    raise tarfile.ExtractError(f"it holds {name} twice")
                found[name] = TextFile.unpack(f"{path}:{member.name}", stream.read())
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise ValueError(f"{path} is no readable archive ({reason(error)}); download it again") from None
    return files | found


def _class_names(file: TextFile) -> tuple[str, ...]:
    names = []
    for number, line in enumerate(file.lines, start=1):
        cells = line.split()
        if len(cells) != 2 or cells[1] != str(number):
            raise file.error(
                number, f"expected 'class {number}', got {shown(line)}", "number the classes from 1 in order"
            )
        names.append(cells[0])
    if not names:
        raise ValueError(f"{file.where} names no class; give a line 'class number' for each, or remove the file")
    return tuple(names)


def _class_ids(file: TextFile, names: tuple[str, ...] | None) -> NDArray[np.int64]:
    ids = file.numbers(1, "one class id")[:, 0]
    row = first_wrong(ids, low=1, high=len(names) if names else len(ids))
    if row is not None:
        known = f"there are {len(names)} classes, counted from 1" if names else "classes are counted from 1"
        raise file.error(file.line_of(row), f"class id {ids[row]:.12g}", known)
    return ids.astype(np.int64) - 1


_LINE = "the files train.data, train.label, ... of the Matlab layout of 20 Newsgroups"

READERS = (
    Reader("MATLAB/", f"a folder of {_LINE}", PackedCounts, read_matlab, matches=is_matlab_folder),
    Reader("MATLAB.tgz", f"an archive of {_LINE} (also .tar)", PackedCounts, read_matlab, suffixes=(".tgz", ".tar")),
)

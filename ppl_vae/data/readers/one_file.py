"""Folders with one file of documents and what describes it, as OCTIS and LDA-C have them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.folders import files_in
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.readers.split_files import FORMS
from ppl_vae.data.source import Source
from ppl_vae.data.text_file import shown

__all__ = ["READER"]

_BESIDE = re.compile(r"(.*[._-])?(vocab(ulary)?|read_?me|licen[cs]e|metadata|info|indexes|labels?)([._-].*)?", re.I)
"""Names of files that describe data."""


def _only(folder: Path) -> Path | None:
    """The one file of a folder that does not describe others, if it is of a known form of documents."""
    from ppl_vae.data.load import corpora, find_reader

    files = [path for path in files_in(folder) if not _BESIDE.fullmatch(path.name)]
    readers = [reader for name, reader in corpora().items() if name in FORMS]
    if len(files) != 1 or not any(reader.recognises(files[0]) for reader in readers):
        return None
    return files[0] if find_reader(str(files[0])).name in FORMS else None


def holds_one_file(folder: Path) -> bool:
    """Whether a folder has one file of documents."""
    return folder.is_dir() and _only(folder) is not None


def read_one_file(folder: Path) -> Source:
    """Reads the file as it is read alone; a vocabulary beside it names the words where its form has none.

    Raises:
        ValueError: As of the form of the file.
    """
    from ppl_vae.data.load import find_reader

    path = _only(folder)
    assert path is not None
    source = find_reader(str(path)).read(path)
    others = [each.name for each in files_in(folder) if each != path and not each.name.lower().startswith("vocab")]
    unread = f"; {shown(', '.join(others), 100)} is not read" if others else ""
    note = f"of the folder {shown(folder.name)}, {shown(path.name)} holds the documents{unread}"
    assert isinstance(source, Source)
    return replace(source, notes=(note, *source.notes))


READER = Reader(
    "DOCUMENTS/",
    "a folder with one file of counts or texts, such as OCTIS's corpus.tsv or LDA-C's, and its vocabulary",
    PackedCounts,
    read_one_file,
    matches=holds_one_file,
)

"""Packed corpora, which ``ppl-vae data pack`` writes: arrays that stay on the disk while a model trains on them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.packed.manifest import MANIFEST, Manifest
from ppl_vae.data.readers.base import Reader

__all__ = ["READERS"]


def holds_documents(folder: Path) -> bool:
    """Whether a folder is a packed corpus of documents."""
    return (folder / MANIFEST).is_file() and (folder / "train.words.npy").is_file()


def holds_arrays(folder: Path) -> bool:
    """Whether a folder is a packed corpus of arrays."""
    return (folder / MANIFEST).is_file() and not holds_documents(folder)


def read_packed(folder: Path) -> Corpus:
    """Opens a packed corpus of documents, whose splits and vocabulary are those it was packed with.

    Raises:
        ValueError: If a file is missing, has another size or checksum than the manifest says, or is damaged.
    """
    return Manifest.read(folder).corpus(str(folder), folder)


def read_packed_arrays(folder: Path, fields: str = "") -> Corpus:
    """Opens a packed corpus of arrays, whose splits are those it was packed with.

    Arguments:
        folder: The folder.
        fields: Names of the fields to read where there are several, separated by commas; by default those that the
            model takes.

    Raises:
        ValueError: As of documents; or if there is no such field.
    """
    wanted = [name.strip() for name in fields.split(",") if name.strip()]
    return Manifest.read(folder).corpus(str(folder), folder, wanted)


READERS = (
    Reader(
        "PACKED/",
        "documents that ppl-vae data pack wrote: they stay on the disk, for corpora larger than memory",
        PackedCounts,
        read_packed,
        matches=holds_documents,
    ),
    Reader(
        "PACKED-ARRAYS/",
        "arrays that ppl-vae data pack wrote, likewise",
        Tensor,
        read_packed_arrays,
        matches=holds_arrays,
    ),
)

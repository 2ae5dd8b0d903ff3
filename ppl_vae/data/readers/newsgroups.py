"""20 Newsgroups, sorted by date: from the data folder, or downloaded into it once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import cast

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.download import data_folder, downloading
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.readers.matlab import is_matlab_folder, read_matlab
from ppl_vae.data.source import Source, SplitName

__all__ = ["READER"]

_SITE = "http://qwone.com/~jason/20Newsgroups/"

_ARCHIVE = "20news-bydate-matlab.tgz"

_WORDS = "vocabulary.txt"

_FOLDERS = ("20news_bydate_matlab", "20news-bydate/matlab")

# Documents and triplets of each split, and words, as the site publishes them.
_PUBLISHED = {"train": (11_269, 1_467_345), "test": (7_505, 967_874)}

_PUBLISHED_WORDS = 61_188

# SHA-256 of the counts of both splits (row pointers, columns and counts as 64-bit integers), and of the words.
_PUBLISHED_SHA256 = "4d179aec1e117a2a3ac93592d3697cfc3b6fc3a311982d44806619c32cf9b166"


def read_newsgroups(cache: Path | None) -> Source:
    """Reads 20 Newsgroups from the data folder, after downloading it if it is missing.

    Arguments:
        cache: The data folder, unless ``PPL_VAE_DATA`` names it. Taken are, in this order, ``20news_bydate_matlab/``,
            ``20news-bydate/matlab/`` and the archive ``20news-bydate-matlab.tgz``.

    Raises:
        ValueError: If a file is malformed, or files are missing and cannot be downloaded.
    """
    folder = data_folder(cache)
    for name in _FOLDERS:
        if is_matlab_folder(folder / name):
            return read_matlab(folder / name)
    if not (folder / _ARCHIVE).is_file():
        _download(folder)
    return read_matlab(folder / _ARCHIVE)


def _download(folder: Path) -> None:
    import pooch

    remedy = f"put {_ARCHIVE} and {_WORDS} from there into {folder}, or set PPL_VAE_DATA to the folder that holds them"
    with downloading("20news", folder, _SITE, remedy) as scratch:
        for name in (_ARCHIVE, _WORDS):
            pooch.retrieve(_SITE + name, known_hash=None, fname=name, path=scratch)
        _check_published(read_matlab(scratch / _ARCHIVE))
        # The archive goes last: it alone is what the next call looks for.
        for name in (_WORDS, _ARCHIVE):
            os.replace(scratch / name, folder / name)


def _check_published(source: Source) -> None:
    # The site publishes counts but no checksums; the digest is that of a copy that was read before.
    sizes = {name: (len(split), int(split.counts.nnz)) for name, split in source.splits.items()}
    if sizes != _PUBLISHED or len(source.words) != _PUBLISHED_WORDS:
        raise ValueError(
            f"what was downloaded has (documents, triplets) {sizes} and {len(source.words)} words, "
            f"published are {_PUBLISHED} and {_PUBLISHED_WORDS}"
        )
    digest = hashlib.sha256()
    for name in _PUBLISHED:
        counts = source.splits[cast(SplitName, name)].counts
        for part in (counts.indptr, counts.indices, counts.data):
            digest.update(part.astype("<i8").tobytes())
    digest.update("\n".join(source.words).encode())
    if digest.hexdigest() != _PUBLISHED_SHA256:
        raise ValueError(
            f"what was downloaded has counts of SHA-256 {digest.hexdigest()[:12]}..., known are those of "
            f"{_PUBLISHED_SHA256[:12]}..."
        )


READER = Reader(
    "20news",
    "20 Newsgroups sorted by date: 11,269 training and 7,505 test posts in 20 groups; downloaded once",
    PackedCounts,
    read_newsgroups,
)

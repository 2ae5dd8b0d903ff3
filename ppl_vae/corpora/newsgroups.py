"""20 Newsgroups, sorted by date: found in the data folder, or fetched into it once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pooch

from ppl_vae.corpora.matlab import is_matlab_folder, read_matlab
from ppl_vae.corpora.raw import Raw

__all__ = ["data_folder", "read_newsgroups"]

_SITE = "http://qwone.com/~jason/20Newsgroups/"
_ARCHIVE = "20news-bydate-matlab.tgz"
_WORDS = "vocabulary.txt"
_FOLDERS = ("20news_bydate_matlab", "20news-bydate/matlab")

# Documents and triplets of each split, and words, as the site publishes them.
_PUBLISHED = {"train": (11_269, 1_467_345), "test": (7_505, 967_874)}
_PUBLISHED_WORDS = 61_188


def data_folder(cache: Path | None = None) -> Path:
    """Where data sets are looked for and fetched to: ``PPL_VAE_DATA``, else ``cache``, else the user's cache folder."""
    named = os.environ.get("PPL_VAE_DATA")
    return Path(named).expanduser() if named else cache or Path(pooch.os_cache("ppl-vae"))


def read_newsgroups(folder: Path) -> Raw:
    """Reads 20 Newsgroups from a data folder, after fetching it there if it is not there yet.

    Arguments:
        folder: The data folder. Taken are, in this order, ``20news_bydate_matlab/``, ``20news-bydate/matlab/`` and
            the archive ``20news-bydate-matlab.tgz``.

    Raises:
        ValueError: If a file is malformed, or if the files are neither there nor can be fetched.
    """
    for name in _FOLDERS:
        if is_matlab_folder(folder / name):
            return read_matlab(folder / name)
    if not (folder / _ARCHIVE).is_file():
        _fetch(folder)
    return read_matlab(folder / _ARCHIVE)


def _fetch(folder: Path) -> None:
    if os.environ.get("PPL_VAE_DATA") and not folder.is_dir():
        raise ValueError(f"PPL_VAE_DATA names {folder}, which is no folder; make it, or name the one with the data")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Within the data folder, so that the files can be moved into place in one step once they are known to be good.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            for name in (_ARCHIVE, _WORDS):
                pooch.retrieve(_SITE + name, known_hash=None, fname=name, path=scratch)
            _check_published(read_matlab(Path(scratch) / _ARCHIVE))
            # The archive goes last: it alone is what the next call looks for.
            for name in (_WORDS, _ARCHIVE):
                os.replace(Path(scratch) / name, folder / name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"20news is not in {folder} and cannot be fetched from {_SITE} ({error}); put {_ARCHIVE} and {_WORDS} "
            f"from there into {folder}, or set PPL_VAE_DATA to the folder that holds them"
        ) from error


def _check_published(raw: Raw) -> None:
    # The site publishes counts but no checksums.
    found = {name: (len(split), int(split.counts.nnz)) for name, split in raw.splits.items()}
    if found != _PUBLISHED or len(raw.words) != _PUBLISHED_WORDS:
        raise ValueError(
            f"what was fetched has (documents, triplets) {found} and {len(raw.words)} words, "
            f"published are {_PUBLISHED} and {_PUBLISHED_WORDS}"
        )

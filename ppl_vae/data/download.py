"""The data folder, and downloads into it: whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppl_vae.data.files import remove_strays, scratch_name

__all__ = ["cache_folder", "check_md5", "data_folder", "downloading"]


def data_folder(cache: Path | None = None) -> Path:
    """Where data sets are looked for and downloaded to: ``PPL_VAE_DATA``, else :func:`cache_folder`."""
    named = os.environ.get("PPL_VAE_DATA")
    return Path(named).expanduser() if named else cache_folder(cache)


def cache_folder(cache: Path | None = None) -> Path:
    """The folder that was given, else the user's cache folder."""
    import pooch

    return cache or Path(pooch.os_cache("ppl-vae"))


@contextmanager
def downloading(name: str, folder: Path, site: str, remedy: str) -> Iterator[Path]:
    """A temporary folder within the data folder to download into; what is not moved out of it is deleted.

    Files can be moved from it into place in one step once they are known to be good.

    Arguments:
        name: Name of the corpus, for messages.
        folder: The data folder.
        site: Where the files come from, for messages.
        remedy: What to do by hand if they do not come.

    Raises:
        ValueError: If the folder that the user names does not exist, or the block fails.
    """
    if os.environ.get("PPL_VAE_DATA") and not folder.is_dir():
        raise ValueError(f"PPL_VAE_DATA names {folder}, which is no folder; make it, or name the one with the data")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_strays(folder, below=False)
        with tempfile.TemporaryDirectory(dir=folder, prefix=scratch_name()) as scratch:
            yield Path(scratch)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{name} is not in {folder} and cannot be downloaded from {site} ({_in_words(error)}); {remedy}"
        ) from error


def _in_words(error: Exception) -> str:
    """An error's message; of a connection that failed, instead of all that its libraries tried, that it did."""
    from requests.exceptions import ConnectionError, Timeout

    if isinstance(error, Timeout):
        return "the server does not answer"
    return "there is no connection to the server" if isinstance(error, ConnectionError) else str(error)


def check_md5(name: str, content: bytes, published: str) -> None:
    """Compares a file's MD5 with the published one.

    Raises:
        ValueError: If they differ, with both.
    """
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != published:
        raise ValueError(f"{name} as it was downloaded has the MD5 {digest}, published is {published}")

"""Sizes that a file announces, believed only as far as the file is long and the memory reaches."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["MOST_WORDS", "check_bytes", "check_documents", "check_words", "memory_budget", "unpacked"]

MOST_WORDS = 2**24
"""Most words of a vocabulary: each has a name and a row of every decoder's weights."""

EMPTY = 100
"""Most documents, or words, per entry of a table of counts, beyond a million."""

_CHUNK = 2**22


def memory_budget() -> int:
    """Half of the memory that this process may use, in bytes: what one file may take.

    That is the machine's, or what a container (cgroup) or a limit of the process (``ulimit -v``) leaves of it.
    """
    return min(_limits()) // 2


def _limits() -> Iterator[int]:
    yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            yield limit
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            yield int(Path(file).read_text())
        except (OSError, ValueError):  # no cgroup, or "max"
            continue


def check_bytes(where: str, size: int, what: str = "uncompressed") -> None:
    """Refuses content beyond :func:`memory_budget` before memory is taken for it.

    Arguments:
        where: Name of the file.
        size: Size in bytes.
        what: What has this size.

    Raises:
        ValueError: Naming the size and the budget.
    """
    if size > (budget := memory_budget()):
        raise ValueError(
            f"{where} takes {_gigabytes(size)} {what}, more than {_gigabytes(budget)}, half of the memory there is; "
            "check that it is what it should be, or split it"
        )


def check_words(where: str, words: int, entries: int) -> None:
    """Refuses a vocabulary that no model could hold, or that a file with so many entries cannot describe.

    Raises:
        ValueError: Naming the number of words.
    """
    if words > min(MOST_WORDS, 10**6 + EMPTY * entries):
        raise ValueError(
            f"{where} has word ids up to {words:,} and {entries:,} counts; read are at most {MOST_WORDS:,} words, and "
            f"{EMPTY} for each count beyond a million: if no id is damaged, number the words that occur from 1"
        )


def check_documents(where: str, documents: int, entries: int) -> None:
    """Refuses more documents than a file with so many entries can describe.

    Raises:
        ValueError: Naming both numbers.
    """
    if documents > 10**6 + EMPTY * entries:
        raise ValueError(
            f"{where} announces {documents:,} documents and has {entries:,} counts, so that nearly all would be empty; "
            "check the number of documents, or leave the empty ones out"
        )


def unpacked(where: str, read: Callable[[int], bytes], announced: Callable[[bytes], int] | None = None) -> bytes:
    """Uncompressed content, read piece by piece, at most :func:`memory_budget` of it.

    Arguments:
        where: Name of the file.
        read: Reads so many bytes.
        announced: How long the content is by its beginning; no more is read than shows that it is longer.

    Raises:
        ValueError: If there is more.
    """
    size, parts, most = 0, list[bytes](), None
    while part := read(_CHUNK):
        parts.append(part)
        size += len(part)
        check_bytes(where, size, "or more uncompressed")
        if announced is not None and most is None:
            most = announced(part)
        if most is not None and size > most:
            break
    return b"".join(parts)


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GB" if size >= 2**30 / 10 else f"{size / 2**20:.1f} MB"

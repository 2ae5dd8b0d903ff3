"""Sizes that a file announces, believed only as far as the file is long and the machine's memory reaches."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["MOST_WORDS", "check_documents", "check_words", "memory_budget", "unpacked"]

MOST_WORDS = 2**24
"""Most words of a vocabulary: each has a name and a row of every decoder's weights."""

EMPTY = 100
"""Most documents, or words, per entry of a table of counts, beyond a million."""

_CHUNK = 2**22


def memory_budget() -> int:
    """Half of the machine's memory, in bytes: what one file may take."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def check_words(where: str, words: int) -> None:
    """Refuses a vocabulary that no model could hold.

    Raises:
        ValueError: Naming the number of words.
    """
    if words > MOST_WORDS:
        raise ValueError(
            f"{where} has word ids up to {words:,}; at most {MOST_WORDS:,} words are read: if no id is damaged, number "
            "the words that occur from 1"
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


def unpacked(where: str, read: Callable[[int], bytes]) -> bytes:
    """Uncompressed content, read piece by piece, at most :func:`memory_budget` of it.

    Raises:
        ValueError: If there is more.
    """
    budget, size, parts = memory_budget(), 0, list[bytes]()
    while part := read(_CHUNK):
        parts.append(part)
        size += len(part)
        if size > budget:
            raise ValueError(
                f"{where} holds more than {budget / 2**30:.1f} GB uncompressed, half of this machine's memory; check "
                "that it is what it should be, or split it"
            )
    return b"".join(parts)

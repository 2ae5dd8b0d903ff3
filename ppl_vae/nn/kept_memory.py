"""Memory that a process keeps while it is needed again and again."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keeping_memory"]

# Parameters of mallopt(3) of the GNU C library.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST, NEVER = 2**25, 2**31 - 1
"""The largest threshold of mmap in bytes that the library takes, and a threshold of free memory that is not reached."""


@contextmanager
def keeping_memory() -> Iterator[None]:
    """Keeps freed memory for the next allocation inside the context, and gives it back at its end.

    By default the GNU C library gives the gradients of large layers back to the system after each step, which hands
    them out again page by page, each filled with zeros: a tenth of the time of a step with layers of 5 million weights,
    and work that only one core does. Elsewhere nothing changes.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallopt"):
        yield
        return
    assert library is not None
    library.mallopt(MMAP_THRESHOLD, LARGEST)
    library.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        library.mallopt(TRIM_THRESHOLD, 2 * LARGEST)  # where the library's own adaption ends
        library.malloc_trim(0)

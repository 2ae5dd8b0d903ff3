"""Standard streams that are closed or full."""

from __future__ import annotations

import os
import sys
from typing import TextIO

__all__ = ["abandon", "is_terminal", "keep_streams", "say"]


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream leads to a terminal; one that is closed does not."""
    return stream is not None and not stream.closed and stream.isatty()


def say(line: str) -> None:
    """Prints a line on the error stream; no work is lost where nobody can read it."""
    stream = sys.stderr
    if stream is None or stream.closed:
        return
    try:
        print(line, file=stream, flush=True)
    except OSError:  # the disk behind it is full, or its reader is gone
        abandon(stream)


def abandon(stream: TextIO) -> None:
    """Leads a stream that cannot be written to nowhere, so that what it still holds is no error at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def keep_streams() -> None:
    """Opens the standard streams that the caller has closed, so that no file of the run takes their place.

    A library that prints to descriptor 2 would else write into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115  (open until the end)

"""The end of a process at one of its changes of files, in the process of a test."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class Killed(BaseException):
    """The end of a process: nothing after it is written."""


@contextlib.contextmanager
def killed_at(operation: int) -> Iterator[list[Any]]:
    """Has what is called end by ``Killed`` at one of its changes of files; the list is of those before.

    Files it holds open are closed, and with them its locks end.
    """
    done: list[Any] = []
    handles: set[int] = set()

    def dying(change):
        def call(*args, **kwargs):
            if len(done) >= operation:
                raise Killed
            done.append(args)
            result = change(*args, **kwargs)
            if change is opens:
                handles.add(result)
            return result

        return call

    def closing(handle):
        handles.discard(handle)
        closes(handle)

    opens, closes = os.open, os.close
    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "unlink", "open", "write", "link", "rmdir", "ftruncate", "pwrite"):
            patch.setattr(os, name, dying(getattr(os, name)))
        patch.setattr(os, "close", closing)
        patch.setattr(Path, "unlink", dying(Path.unlink))
        patch.setattr(Path, "rmdir", dying(Path.rmdir))
        try:
            yield done
        finally:
            for handle in list(handles):
                closing(handle)

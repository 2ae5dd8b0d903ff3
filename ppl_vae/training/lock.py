"""Locks on folders: one process at a time trains in a run, and another one is told which."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from ppl_vae.data.files import PREFIX, is_running
from ppl_vae.training.progress import log

__all__ = ["LOCK", "holder", "is_foreign", "locked", "place_of"]

LOCK = ".lock"
"""Name of the file that is locked; it names the process."""

WAIT_SECONDS = 0.2

_held: dict[Path, int] = {}


@contextlib.contextmanager
def locked(folder: Path, doing: str, wait: bool = False, name: str = LOCK) -> Iterator[None]:
    """Holds the lock of a folder, which is made if it is missing.

    The lock is the kernel's: it ends with the process that holds it, however that ends, and the file that a killed
    process left is taken over.

    Arguments:
        folder: The folder.
        doing: What this process does there, in words that follow a process's name: ``"trains here"``.
        wait: Whether to wait for a process that holds it.
        name: Name of the file that is locked.

    Raises:
        ValueError: If another process holds it, naming process, host and time.
    """
    path = folder / name
    handle = _open(path, wait)
    try:
        if handle is not None:
            _held[path] = handle
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            content = {"process": os.getpid(), "host": platform.node(), "since": since, "doing": doing}
            with contextlib.suppress(OSError):  # a full disk; the lock holds without its description
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(content).encode(), 0)
        yield
    finally:
        if handle is not None:
            del _held[path]
            # First the file and then the lock: who waits for the lock finds out that its file is gone.
            place = _place(handle) or path  # the folder may have been moved
            with contextlib.suppress(OSError):
                if _is_at(handle, place):
                    place.unlink()
            os.close(handle)


def holder(folder: Path) -> str | None:
    """Which process works in a folder, in words, by the file of its lock; None if none does. Nothing is locked."""
    try:
        content = json.loads((folder / LOCK).read_bytes())
        process, host = int(content["process"]), str(content["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if host == platform.node() and not is_running(process):
        return None
    return f"process {process} on {host} since {content.get('since')}"


def is_foreign(path: Path) -> bool:
    """Whether a file is neither a lock nor a temporary file, of which a process killed at its start leaves no other."""
    return path.name != LOCK and not path.name.startswith(PREFIX)


def place_of(folder: Path) -> Path | None:
    """Where a folder is now whose lock this process holds; None if that is not known, or it is gone."""
    handle = _held.get(folder / LOCK)
    place = None if handle is None else _place(handle)
    return place.parent if place is not None and place.exists() else None


def _place(handle: int) -> Path | None:
    """Path of an open file; None where the system does not tell."""
    try:
        return Path(os.readlink(f"/proc/self/fd/{handle}"))
    except OSError:  # Linux alone has it
        return None


def _open(path: Path, wait: bool) -> int | None:
    """The locked file's handle; None where the file system has no locks or cannot be written."""
    try:
        import fcntl
    except ImportError:
        return None
    told = False
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None  # what is written next says why
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _holder(handle)
            os.close(handle)
            if not wait:
                raise ValueError(
                    f"{path.parent} is in use: {who}; wait for its end, or end it, then repeat the command"
                ) from None
            if not told:
                log(f"waiting for {path.parent}: {who}")
                told = True
            time.sleep(WAIT_SECONDS)
            continue
        except OSError:
            os.close(handle)
            log(f"note: {path.parent} cannot be locked: start no second process in it")
            return None
        if _is_at(handle, path):
            return handle
        os.close(handle)  # that of a process that has just ended and removed its file


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _holder(handle: int) -> str:
    """Who holds a lock, by the content of its file."""
    try:
        content = json.loads(os.pread(handle, 4096, 0))
        process, host, since = content["process"], content["host"], content["since"]
        text = f"process {process} on {host} {content['doing']} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process works here"
    if host == platform.node() and not is_running(int(process)):
        text += ", and has ended, but not a process that it began"
    return text

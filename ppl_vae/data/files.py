"""Files that are written whole or not at all, and the temporary ones that killed processes left behind."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import time
import zlib
from pathlib import Path

__all__ = ["NotWrittenError", "atomic_write", "is_running", "remove_strays", "scratch_name"]

PREFIX = ".ppl-vae-"
"""Begins the names of temporary files; the process and its host follow."""

FOREIGN_SECONDS = 86400.0
"""Age from which the temporary file of another host, whose processes cannot be seen, counts as left behind."""

_cleared: set[Path] = set()


class NotWrittenError(ValueError):
    """A file could not be written, on a full or read-only disk, say; its last good version is kept.

    Arguments:
        path: Path of the file.
        reason: Reason of the operating system.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        self.remedy = "its last good version is kept" if path.is_file() else "choose another folder, or make room"
        super().__init__(path, reason)

    def __str__(self) -> str:
        return f"cannot write {self.path}: {self.reason}; {self.remedy}"


def atomic_write(path: Path, *content: bytes | memoryview) -> None:
    """Writes a file atomically: at any moment, that of a power failure included, it is the old one or the new one.

    All files of this package are written by this function.

    Arguments:
        path: Path of the file.
        content: Parts of its content in order.

    Raises:
        NotWrittenError: If it cannot be written (a full disk, say), naming it; the old one is kept.
    """
    folder = path.parent
    scratch = folder / scratch_name()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder not in _cleared:
            _cleared.add(folder)
            remove_strays(folder, below=False)
        # The mask of the user's new files holds, since runs are shared.
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            try:
                for part in content:
                    rest = memoryview(part)
                    while rest:
                        rest = rest[os.write(handle, rest) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(scratch, path)
        except BaseException:
            with contextlib.suppress(OSError):
                scratch.unlink()
            raise
    except OSError as error:
        raise NotWrittenError(path, error.strerror or str(error)) from error
    with contextlib.suppress(OSError):  # the file is there; not every file system syncs folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def scratch_name() -> str:
    """A name for a temporary file or folder, by which it is known as left behind once this process has ended."""
    return f"{PREFIX}{os.getpid()}-{_host()}-{secrets.token_hex(4)}"


def remove_strays(folder: Path, below: bool = True) -> None:
    """Removes the temporary files and folders of killed processes from a folder and, where asked, those below it."""
    with contextlib.suppress(OSError):  # another process is as quick, or the disk is read-only
        for path in list(folder.rglob(f"{PREFIX}*") if below else folder.glob(f"{PREFIX}*")):
            if not _is_stray(path):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Whether a process of this host runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _is_stray(path: Path) -> bool:
    process, _, host = path.name.removeprefix(PREFIX).partition("-")
    if process.isdecimal() and host.startswith(f"{_host()}-"):
        return not is_running(int(process))
    return time.time() - path.stat().st_mtime > FOREIGN_SECONDS


def _host() -> str:
    """Eight digits that tell hosts apart, of whatever characters their names are."""
    return f"{zlib.crc32(platform.node().encode()):08x}"

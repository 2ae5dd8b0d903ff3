"""Digests of code that the user has run on this machine, by which code that someone sent is told apart."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

__all__ = ["is_trusted", "trust"]

_trusted: set[str] = set()
"""Digests of this process, also where the file of them cannot be written."""


def _file() -> Path | None:
    """The file that remembers digests, one a line; None on a machine without a place for it."""
    import platformdirs

    try:
        return platformdirs.user_state_path("ppl-vae") / "trusted"
    except (OSError, RuntimeError):  # no home folder
        return None


def trust(digest: str) -> None:
    """Remembers the digest of code that may be run, in this process and, where it can be written, on this machine."""
    if is_trusted(digest):
        return
    _trusted.add(digest)
    if (file := _file()) is not None:
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a") as lines:
                lines.write(f"{digest}\n")


def is_trusted(digest: str) -> bool:
    """Whether code of this digest was run on this machine, or was trusted by the user."""
    if digest in _trusted:
        return True
    try:
        file = _file()
        lines = set() if file is None else set(file.read_text(errors="replace").split())
    except OSError:
        return False
    _trusted.update(line for line in lines if re.fullmatch("[0-9a-f]{64}", line))
    return digest in _trusted

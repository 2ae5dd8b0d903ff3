"""The digest of the code that computes a cell, by which results of two versions are told apart."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import ppl_vae
from ppl_vae.plugins.discovery import Kind, available

__all__ = ["package_digest"]

PAIRS: tuple[Kind, ...] = ("models", "guides")


@cache
def package_digest() -> str:
    """Sixteen hexadecimal digits of all code that a cell may use: this package but its command line, models, guides."""
    root = Path(ppl_vae.__file__).parent
    others = {file.parent for kind in PAIRS for file in (plugin.file for plugin in available(kind, own=False).values())}
    not_used = {root / "cli", root / "experiments", *others}
    files = [file for file in root.rglob("*.py") if not_used.isdisjoint(file.parents)]
    files += [file for folder in others for file in folder.rglob("*.py")]
    content = hashlib.sha256()
    for file in sorted(files, key=lambda file: (file.parent.name, file.name)):
        content.update(f"{file.parent.name}/{file.name}\n".encode() + file.read_bytes())
    return content.hexdigest()[:16]

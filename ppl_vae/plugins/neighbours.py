"""A user's file and the files beside it that it imports: found without running any of them, and read once."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import decode_source
from pathlib import Path, PurePosixPath

__all__ = ["Sources", "neighbours"]

NEVER_BESIDE = {*sys.stdlib_module_names, "ppl_vae"}
"""Modules that no file beside a user's stands in for."""


@dataclass(frozen=True, eq=False)
class Sources:
    """The bytes of a user's file, and of the files beside it that it imports, as they were read.

    Arguments:
        file: The path of the file, with all links resolved.
        contents: The bytes of each file by its path in the folder, ``"package/module.py"``; the file itself is first.
    """

    file: Path
    contents: dict[str, bytes]

    @classmethod
    def read(cls, file: Path) -> Sources:
        """Reads a file, and those in its folder and in packages there that it and they import.

        Imports inside functions count; modules that a program finds by another way than an import do not.
        """
        file = file.resolve()
        contents, waiting = {file.name: file.read_bytes()}, [file.name]
        while waiting:
            importer = waiting.pop()
            for module in _imports(contents[importer]):
                for name in _files(module, importer, file.parent):
                    if name not in contents:
                        contents[name] = file.parent.joinpath(name).read_bytes()
                        waiting.append(name)
        return cls(file, contents)

    @property
    def beside(self) -> list[str]:
        """Paths of the files that are imported, in the folder, in their order."""
        return sorted(self.contents.keys() - {self.file.name})

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hexadecimal: of a file without neighbours that of its bytes, else of all names and bytes.

        Each name and each content is preceded by its length. What is hashed of several files begins with a zero byte,
        which no Python file holds, so that it is never the content of a single one.
        """
        if not self.beside:
            return hashlib.sha256(self.contents[self.file.name]).hexdigest()
        digest = hashlib.sha256(b"\0ppl-vae files")
        for name in (self.file.name, *self.beside):
            for part in (name.encode(errors="surrogateescape"), self.contents[name]):
                digest.update(len(part).to_bytes(8))
                digest.update(part)
        return digest.hexdigest()

    def module_file(self, place: str) -> str | None:
        """The file of the module at a place in the folder, ``"package/module"``; None if none was read."""
        return next((name for name in _candidates(place) if name in self.contents), None)

    def is_folder(self, place: str) -> bool:
        """Whether files within a place were read."""
        return any(name.startswith(f"{place}/") for name in self.contents)


def neighbours(file: Path) -> list[Path]:
    """The files in a file's folder, and in packages there, that it and they import, in order of their paths.

    Arguments:
        file: The path of the file.
    """
    sources = Sources.read(file)
    return [sources.file.parent / name for name in sources.beside]


@lru_cache(maxsize=256)
def _imports(content: bytes) -> list[tuple[int, tuple[str, ...]]]:
    """The modules that a file imports: how many folders up, and the parts of the name."""
    try:
        tree = ast.parse(decode_source(content))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # running it says so
        return []
    modules = list[tuple[int, tuple[str, ...]]]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [(0, tuple(alias.name.split("."))) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = tuple(node.module.split(".")) if node.module else ()
            modules += [(node.level, (*parts, alias.name)) for alias in node.names]
    return modules


def _files(module: tuple[int, tuple[str, ...]], importer: str, folder: Path) -> Iterator[str]:
    """The files that run when a module is imported, of those in a folder."""
    level, parts = module
    if level == 0 and parts[0] in NEVER_BESIDE:
        return
    parents = PurePosixPath(importer).parents
    if level > len(parents):
        return
    place = parents[level - 1] if level else PurePosixPath()
    for part in parts:
        if part == "*":  # the submodules that its __all__ may name
            yield from (str(place / file.name) for file in sorted(folder.joinpath(place).glob("*.py")))
            return
        yield from (name for name in _candidates(str(place / part)) if folder.joinpath(name).is_file())
        place = place / part


def _candidates(place: str) -> tuple[str, str]:
    """The files that a module may be, the first that there is, as Python takes them."""
    return f"{place}/__init__.py", f"{place}.py"

"""A form of files under siege: how valid ones are made, how they are read, and an independent parse of them."""

from __future__ import annotations

import gzip
import importlib
import io
import lzma
import pkgutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.siege.mutators import mutated

__all__ = ["Case", "Form", "forms", "made"]

Parts = dict[str, bytes]
"""Contents by path."""

VALID = 0.05
"""Share of files that are left as they are."""

BOMB = 0.002
"""Share of packed files of which a part is replaced by many times its size of zeros."""

_ZEROS = bytes(5 * 2**24)


@dataclass(frozen=True)
class Case:
    """A file or folder.

    Arguments:
        parts: Contents by path within the file or folder.
        pack: Function from the parts to the files of the folder.
        path: Path of the file that is read; empty for the folder itself.
    """

    parts: Parts
    path: str = ""
    pack: Callable[[Parts], Parts] = dict

    def damaged(self, rng: np.random.Generator) -> Case:
        """The same with damage within or, where it is packed, around its parts."""
        packed = self.pack(self.parts) != self.parts
        if packed and rng.random() < BOMB:
            name = list(self.parts)[int(rng.integers(len(self.parts)))]
            return replace(self, parts=self.parts | {name: self.parts[name] + _ZEROS})
        inside = not packed or rng.random() < 0.75
        case = self if inside else Case(self.pack(self.parts), self.path)
        name = list(case.parts)[int(rng.integers(len(case.parts)))]
        return replace(case, parts=case.parts | {name: mutated(rng, case.parts[name])})

    def write(self, folder: Path) -> Path:
        """Writes the files into a folder, and returns the path that is read."""
        for name, content in self.pack(self.parts).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder / self.path


@dataclass(frozen=True)
class Form:
    """One form of files.

    Arguments:
        name: Name in the table of outcomes.
        make: A valid file of one of many shapes.
        read: Function from the path to what the package reads.
        parse: The same by an independent parse; any error of it says that the file is not valid.
        needs: A package that both need, and which starts a process for each file: the suite reads a few of them.
    """

    name: str
    make: Callable[[np.random.Generator], Case]
    read: Callable[[Path], object]
    parse: Callable[[Path], object]
    needs: str = ""


def forms() -> dict[str, Form]:
    """All forms of the folder ``forms/`` by name."""
    from benchmarks.siege import forms as folder

    found: dict[str, Form] = {}
    for module in sorted(pkgutil.iter_modules(folder.__path__), key=lambda module: module.name):
        for form in importlib.import_module(f"{folder.__name__}.{module.name}").FORMS:
            found[form.name] = form
    return found


def made(form: Form, seed: int, number: int) -> Case:
    """The file of a number: valid, or damaged."""
    rng = np.random.default_rng([seed, number, *form.name.encode()])
    case = form.make(rng)
    return case if rng.random() < VALID else case.damaged(rng)


def compressed(rng: np.random.Generator, case: Case, share: float = 0.4) -> Case:
    """The case with its files compressed, or as it is."""
    if rng.random() > share:
        return case
    ending, pack = ((".gz", _gzip), (".xz", _xz))[int(rng.integers(2))]

    def packed(parts: Parts) -> Parts:
        return {f"{name}{ending}": pack(content) for name, content in parts.items()}

    return Case(case.parts, f"{case.path}{ending}" if case.path else "", packed)


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def _xz(content: bytes) -> bytes:
    return lzma.compress(content, preset=0)


def zipped(name: str, stored: bool = False) -> Callable[[Parts], Parts]:
    """Packs the parts into one zip archive; names with a slash before them stay beside it."""

    def pack(parts: Parts) -> Parts:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED, compresslevel=1) as z:
            for part, content in parts.items():
                if not part.startswith("/"):
                    z.writestr(zipfile.ZipInfo(part), content, z.compression)
        beside = {part[1:]: content for part, content in parts.items() if part.startswith("/")}
        return {name: buffer.getvalue()} | beside

    return pack


def tarred(name: str, compress: bool = True, kinds: Mapping[str, bytes] | None = None) -> Callable[[Parts], Parts]:
    """Packs the parts into one tar archive; ``kinds`` are types of members other than files, such as links."""

    def pack(parts: Parts) -> Parts:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for part, content in parts.items():
                member = tarfile.TarInfo(part)
                member.size = len(content)
                if kinds and part in kinds:
                    member.type, member.linkname, member.size = kinds[part], "/etc/passwd", 0
                archive.addfile(member, io.BytesIO(content))
        return {name: _gzip(buffer.getvalue()) if compress else buffer.getvalue()}

    return pack


def unpacked(path: Path) -> bytes:
    """The content of a file by its ending."""
    content = path.read_bytes()
    if path.name.endswith((".gz", ".tgz")):
        return gzip.decompress(content)
    return lzma.decompress(content) if path.name.endswith(".xz") else content

"""Files that add something by being there, found by kind and name without running them.

A kind is a folder: ``guides/`` of this package holds the shipped guides, ``guides/`` of the working folder the user's
own, which win over shipped ones of the same name. The name of a plugin is the name of its file.
"""

from __future__ import annotations

import ast
import importlib
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar

import ppl_vae
from ppl_vae.plugins.nearest import NotFoundError, nearest
from ppl_vae.plugins.user_files import digest, load_file

__all__ = [
    "Kind",
    "Plugin",
    "available",
    "find",
    "is_named_after",
    "joined_name",
    "own_classes",
    "split_name",
    "summary_of",
]

Kind = Literal["models", "guides", "experiments", "estimators", "evidence", "readers", "engines"]

T = TypeVar("T")

_PACKAGES: dict[Kind, tuple[str, ...]] = {
    "models": ("ppl_vae.models",),
    "guides": ("ppl_vae.guides",),
    "experiments": ("ppl_vae.experiments",),
    "estimators": ("ppl_vae.estimators",),
    # The second is for methods that search as diagnostics do.
    "evidence": ("ppl_vae.evidence.methods", "ppl_vae.diagnostics.gap.methods"),
    "readers": ("ppl_vae.data.readers",),
    "engines": ("ppl_vae.runs.engines",),
}
_SUFFIXES: dict[Kind, tuple[str, ...]] = {"experiments": (".py", ".toml")}
"""How file names of a kind end, if not with ``.py`` alone."""
_NO_PLUGINS = ("__init__", "base")
"""File names that hold what the plugins of a folder share."""


@dataclass(frozen=True)
class Plugin:
    """A file that adds one thing of a kind.

    Arguments:
        kind: The folder it belongs to.
        file: The path of the file.
        shipped: Whether it belongs to this package.
        item: Name of the thing in the file, where the user says which of several; else empty.
    """

    kind: Kind
    file: Path
    shipped: bool
    item: str = ""

    @property
    def name(self) -> str:
        """The name it is chosen by."""
        return self.file.stem

    @property
    def singular(self) -> str:
        """What the kind is called in a message, such as ``"guide"``."""
        return {"evidence": "evidence method"}.get(self.kind, self.kind[:-1])

    @property
    def sha256(self) -> str:
        """Digest of the file, and of the neighbours it imports, as they are now, in hexadecimal."""
        return digest(self.file)

    @cached_property
    def summary(self) -> str:
        """First sentence of the docstring of its class, or of the file, read without running it."""
        # Classes of an experiment's file are its tools, not what it adds.
        return summary_of(self.file, of_class=self.kind != "experiments").replace("``", "")

    def load(self, sha256: str | None = None) -> ModuleType:
        """Runs the file, once a process, and returns its module.

        Arguments:
            sha256: The digest that a user's file must have.

        Raises:
            ValueError: If it does not load, with the reason, or has another digest, unrun.
        """
        if self.shipped:
            package = next(name for name in _PACKAGES[self.kind] if _is_same(_folder(name), self.file.parent))
            return importlib.import_module(f"{package}.{self.name}")
        return load_file(self.file, sha256)

    def load_class(self, parent: type[T]) -> type[T]:
        """The class that the file adds: the one subclass of a parent defined in it, or the one named after the file.

        Raises:
            ValueError: If the file does not load, or defines no such class, or several.
        """
        classes = own_classes(self.load(), parent)
        named = [item for item in classes if item.__name__ == self.item] or [
            item for item in classes if is_named_after(item.__name__, self.file)
        ]
        if len(named or classes) != 1:
            names = ", ".join(item.__name__ for item in classes) or "none"
            raise ValueError(
                f"{self.file} must define one {parent.__name__}, or one named after the file; it defines {names}"
            )
        return (named or classes)[0]


def own_classes(module: ModuleType, parent: type[T]) -> list[type[T]]:
    """The public subclasses of a parent that a module defines itself."""
    return [
        item
        for item in vars(module).values()
        if isinstance(item, type)
        and issubclass(item, parent)
        and item.__module__ == module.__name__
        and not item.__name__.startswith("_")
    ]


def is_named_after(name: str, file: Path) -> bool:
    """Whether a class has the name of its file: ``MeanField`` in ``mean_field.py``."""
    return name.lower().replace("_", "") == file.stem.replace("_", "").lower()


def summary_of(file: Path, of_class: bool = True) -> str:
    """First paragraph, in one line, of the docstring of a file's class, else of the file itself.

    The class is the one named after the file, or the only public one. A TOML file has a summary under ``about``.

    Arguments:
        file: Path of the file.
        of_class: Whether the class comes first.

    Example:
        >>> summary_of(_shipped("guides")["mean_field"])
        'Independent latents whose parameters are an affine map of the data plus a deep network.'
    """
    try:
        if file.suffix == ".toml":
            return str(tomllib.loads(file.read_text()).get("about", ""))
        tree = ast.parse(file.read_text(), str(file))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # nested deeper than a parser follows
        return ""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    by_name = {node.name.lower(): node for node in classes}
    named = by_name.get(file.stem.replace("_", "").lower(), classes[0] if len(classes) == 1 else None)
    text = (ast.get_docstring(named) if named and of_class else None) or ast.get_docstring(tree) or ""
    return " ".join(text.split("\n\n")[0].split())


def split_name(name: str) -> tuple[str, str]:
    """A path and the name of a thing in its file: ``vae.py:VAE``."""
    path, colon, item = name.rpartition(":")
    return (path, item) if colon and path.endswith(".py") else (name, "")


def joined_name(path: Path, item: str) -> str:
    """The name that :func:`split_name` takes apart."""
    return f"{path}:{item}" if item else str(path)


def _shipped(kind: Kind) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for package in _PACKAGES[kind]:
        files |= _files(kind, _folder(package))
    return files


def _folder(package: str) -> Path:
    """The folder of a package, also where it is not imported."""
    module = sys.modules.get(package)
    if module is not None:
        return Path(module.__path__[0])
    return Path(ppl_vae.__file__).parent.joinpath(*package.split(".")[1:])


def _is_same(one: Path, other: Path) -> bool:
    return one == other or one.resolve() == other.resolve()


def _own(kind: Kind) -> dict[str, Path]:
    return _files(kind, Path(kind))


def _files(kind: Kind, folder: Path) -> dict[str, Path]:
    files = [file for suffix in _suffixes(kind) for file in sorted(folder.glob(f"*{suffix}"))]
    return {file.stem: file for file in files if file.stem not in _NO_PLUGINS}


def _suffixes(kind: Kind) -> tuple[str, ...]:
    return _SUFFIXES.get(kind, (".py",))


def available(kind: Kind, *, own: bool = True) -> dict[str, Plugin]:
    """All plugins of a kind by name, those of the working folder in place of shipped ones of the same name.

    Arguments:
        kind: Which folder.
        own: Whether the working folder counts, too: an experiment means the shipped ones.
    """
    shipped, others = _shipped(kind), _own(kind) if own else {}
    if others:  # in a checkout the working folder's files are the shipped ones
        known = {file.resolve() for file in shipped.values()}
        others = {name: file for name, file in others.items() if file.resolve() not in known}
    return {name: Plugin(kind, file, name not in others) for name, file in sorted((shipped | others).items())}


def find(kind: Kind, name: str, *, own: bool = True, besides: Sequence[str] = ()) -> Plugin:
    """A plugin by path (``models/text.py``) or name (``text``).

    Arguments:
        kind: Which folder.
        name: Name, or path of a file, which ``:NAME`` may follow: one thing of several in the file.
        own: Whether the working folder counts, too.
        besides: Choices of the caller that are no plugins, for the message.

    Raises:
        ValueError: If there is none, listing the choices.
    """
    name, item = split_name(name)
    path, plugins, suffixes = Path(name), available(kind, own=own), _suffixes(kind)
    if path.suffix in suffixes and path.is_file():
        shipped = _shipped(kind).get(path.stem)
        return Plugin(kind, path, shipped is not None and path.resolve() == shipped.resolve(), item)
    if path.stem in plugins and path.suffix in ("", *suffixes) and path.parent in (Path("."), Path(kind)):
        return plugins[path.stem]
    singular = Plugin(kind, path, False).singular
    if path.suffix in suffixes:
        beside = [file.name for file in path.parent.glob("*") if file.suffix in suffixes]
        near = [str(path.with_name(file)) for file in nearest(path.name, beside)] or nearest(path.stem, plugins)
        raise NotFoundError(
            f"there is no file {name} (working folder {Path.cwd()}), nor a shipped {singular} of that name"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    choices = ", ".join((*besides, *plugins))
    near = nearest(name, (*besides, *plugins))
    raise NotFoundError(
        f"there is no {singular} {name!r}; choose from {choices}, or give the path of a {' or '.join(suffixes)} file"
        + (f"; did you mean {near[0]}?" if near else "")
    )

"""Files of a user run as modules, together with the files beside them that they import."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from ppl_vae.plugins.neighbours import neighbours
from ppl_vae.plugins.places import place_of

__all__ = ["digest", "load_file"]

_loaded: dict[Path, tuple[tuple[int, ...], ModuleType]] = {}
"""The module of each file, with the times of change of the file and its neighbours."""
_imported: set[str] = set()
"""Names of all neighbours in ``sys.modules``: another folder may have others of the same names."""


def load_file(file: Path, *, afresh: bool = False) -> ModuleType:
    """Runs a user's file as a module, once a process unless it or a neighbour changes.

    It may import its neighbours, as ``helpers`` or ``.helpers``: imports look into its folder first while it runs.

    Arguments:
        file: The path of the file.
        afresh: Whether to run it again, so that what it makes (networks) is new and belongs to the caller alone.

    Raises:
        ValueError: If it does not load, with the reason.
    """
    file = file.resolve()
    if afresh:
        return _execute(file)
    known = _loaded.get(file)
    if known is None or known[0] != _times(file):
        module = _execute(file)
        _loaded[file] = known = _times(file), module
    return known[1]


def digest(file: Path) -> str:
    """SHA-256 of a file and of the neighbours it imports, in hexadecimal; nothing is run."""
    content = file.read_bytes()
    for neighbour in neighbours(file):
        content += hashlib.sha256(neighbour.read_bytes()).digest()
    return hashlib.sha256(content).hexdigest()


def _times(file: Path) -> tuple[int, ...]:
    return tuple(path.stat().st_mtime_ns for path in (file, *neighbours(file)))


def _execute(file: Path) -> ModuleType:
    package = f"_ppl_vae_user_{hashlib.sha256(str(file.parent).encode()).hexdigest()[:8]}"
    name = f"{package}.{re.sub(r'[^0-9a-zA-Z_]', '_', file.stem)}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _folder_first(file):
        parent = ModuleType(package)
        parent.__path__ = [str(file.parent)]
        sys.modules[package], sys.modules[name] = parent, module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            place = place_of(error)
            where = f" (at {place})" if place is not None else ""
            raise ValueError(f"{file} does not load: {type(error).__name__}: {error}{where}") from error
    return module


@contextmanager
def _folder_first(file: Path) -> Iterator[None]:
    """Has imports look into the folder of a file first, and its neighbours run anew."""
    for name in _imported:
        sys.modules.pop(name, None)
    _imported.clear()
    folder, before = str(file.parent), set(sys.modules)
    finder = _Neighbours(folder)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if folder not in sys.path:
            sys.path.append(folder)  # for imports inside functions
        names = [name for name in sys.modules.keys() - before if _is_neighbour(name, file)]
        _imported.update(name for name in names if Path(str(sys.modules[name].__file__)).resolve() != file)


class _Neighbours(MetaPathFinder):
    """Finds modules in a folder; a file there called like a module of Python does not stand in for it.

    Arguments:
        folder: The path of the folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if path is not None or name in sys.stdlib_module_names:
            return None
        return PathFinder.find_spec(name, [self.folder])


def _is_neighbour(name: str, file: Path) -> bool:
    """Whether a module is a file beside another, or in a package beside it."""
    source = getattr(sys.modules[name], "__file__", None)
    parts = name.split(".")[name.startswith("_ppl_vae_user_") :]
    if source is None or not parts or parts[0] == "ppl_vae":
        return False
    return Path(source).resolve() in (
        file.parent.joinpath(*parts).with_suffix(".py"),
        file.parent.joinpath(*parts, "__init__.py"),
    )

"""Imports of a user's files, which run the bytes that were read with them and nothing else of their folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import decode_source
from pathlib import Path, PurePosixPath
from types import ModuleType

from ppl_vae.plugins.neighbours import NEVER_BESIDE, Sources

__all__ = ["PREFIX", "SourceLoader", "is_of", "loader_of", "spec_of", "while_running"]

PREFIX = "_ppl_vae_user_"
"""Begins the name of the package that stands for the folder of a user's file."""

SUFFIXES = (".py", *BYTECODE_SUFFIXES, *EXTENSION_SUFFIXES)
"""How files end that Python would run."""


class SourceLoader(ExecutionLoader):
    """Runs one of the files that were read together; no file is read again, and no compiled one at all.

    Arguments:
        sources: The files.
        place: The module's place in their folder, ``"package/module"``; empty for the folder itself.
        name: Its file; None of a folder without ``__init__.py``, which runs nothing.
    """

    def __init__(self, sources: Sources, place: str, name: str | None) -> None:
        self.sources, self.place, self.name = sources, place, name

    def is_package(self, fullname: str) -> bool:
        return self.name is None or self.name == f"{self.place}/__init__.py"

    def get_source(self, fullname: str) -> str:
        return "" if self.name is None else decode_source(self.sources.contents[self.name])

    def get_filename(self, fullname: str) -> str:
        return str(self.sources.file.parent / (self.name or self.place))


def spec_of(fullname: str, sources: Sources, place: str, name: str | None) -> ModuleSpec:
    """How a module is made, by the arguments of :class:`SourceLoader`."""
    loader = SourceLoader(sources, place, name)
    package = loader.is_package(fullname)
    spec = ModuleSpec(fullname, loader, origin=loader.get_filename(fullname), is_package=package)
    spec.has_location = name is not None
    if spec.submodule_search_locations is not None:
        spec.submodule_search_locations.append(str(sources.file.parent / place))
    return spec


def loader_of(module: ModuleType | None) -> SourceLoader | None:
    """The loader of a module that was read with a user's file; None of all others."""
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    return loader if isinstance(loader, SourceLoader) else None


def is_of(module: ModuleType, sources: Sources) -> bool:
    """Whether a module was read with a file; the package that stands for the folder is none."""
    loader = loader_of(module)
    return loader is not None and loader.sources is sources and loader.place != ""


class _Running(MetaPathFinder):
    """Finds the neighbours of the file that is run, before all other modules of their names, and all submodules."""

    sources: Sources | None = None

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, last = name.rpartition(".")
        if not package:
            return None if self.sources is None else _spec_beside(name, self.sources)
        if (parent := loader_of(sys.modules.get(package))) is None:
            return None
        sources, place = parent.sources, str(PurePosixPath(parent.place, last))
        if (spec := _spec_at(name, sources, place)) is not None:
            return spec
        _refuse(name, sources, place)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)  # else Python looks into the folder


class _Afterwards(MetaPathFinder):
    """Finds the neighbours of files that were run, after all other modules, for imports inside functions."""

    def __init__(self) -> None:
        self.known: dict[Path, Sources] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if path is not None:
            return None
        if _running.sources is not None:
            _refuse(name, _running.sources, name)
        specs = (_spec_beside(name, sources) for sources in reversed(self.known.values()))
        return next((spec for spec in specs if spec is not None), None)


_running, _afterwards = _Running(), _Afterwards()


@contextmanager
def while_running(module: ModuleType, sources: Sources) -> Iterator[None]:
    """Has imports find the neighbours of a file first, and run them anew, while its module is run."""
    package = module.__name__.rpartition(".")[0]
    for name, each in list(sys.modules.items()):
        # Another folder may have neighbours of the same names; those of another file's package are its own.
        if loader_of(each) is not None and (name.startswith(f"{package}.") or not name.startswith(PREFIX)):
            del sys.modules[name]
    if _running not in sys.meta_path:
        sys.meta_path.insert(0, _running)
    if _afterwards not in sys.meta_path:
        sys.meta_path.append(_afterwards)
    outer, _running.sources = _running.sources, sources
    try:
        yield
    finally:
        _running.sources = outer
        _afterwards.known.pop(sources.file, None)
        _afterwards.known[sources.file] = sources  # the latest is looked at first


def _spec_beside(name: str, sources: Sources) -> ModuleSpec | None:
    return None if name in NEVER_BESIDE else _spec_at(name, sources, name)


def _spec_at(name: str, sources: Sources, place: str) -> ModuleSpec | None:
    file = sources.module_file(place)
    return spec_of(name, sources, place, file) if file is not None or sources.is_folder(place) else None


def _refuse(name: str, sources: Sources, place: str) -> None:
    """Says why a file of the folder that Python would run is not run.

    Raises:
        ImportError: Naming the file, if there is one.
    """
    folder = sources.file.parent
    files = [*(f"{place}{suffix}" for suffix in SUFFIXES), *(f"{place}/__init__{suffix}" for suffix in SUFFIXES)]
    if name in NEVER_BESIDE or not all(re.fullmatch(r"\w+", part) for part in place.split("/")):
        return
    for file in files:
        if folder.joinpath(file).is_file():
            why = "no import statement names it" if file.endswith(".py") else "only Python sources (.py) are"
            raise ImportError(
                f"{folder / file} lies beside {sources.file.name} and is not run: {why}; import it by its name, or "
                "install it as a package",
                name=name,
            )

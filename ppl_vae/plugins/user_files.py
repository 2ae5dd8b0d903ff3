"""Files of a user run as modules, together with the files beside them that they import."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

from ppl_vae.plugins.beside import PREFIX, is_of, loader_of, spec_of, while_running
from ppl_vae.plugins.neighbours import Sources
from ppl_vae.plugins.places import place_of

__all__ = ["digest", "digest_of", "load_file", "modules_beside", "run_afresh"]

_loaded: dict[Path, tuple[str, ModuleType]] = {}
"""The module of each file, with the digest of what was run."""


def load_file(file: Path, sha256: str | None = None) -> ModuleType:
    """Runs a user's file as a module, once a process unless it or a neighbour changes.

    It may import its neighbours, as ``helpers`` or ``.helpers``: imports find them first while it runs. What runs are
    the bytes that the digest is of: they are read once, and compiled files are left alone.

    Arguments:
        file: The path of the file.
        sha256: The digest that the file must have.

    Raises:
        ValueError: If it does not load, with the reason, or has another digest, unrun.
    """
    sources = Sources.read(file)
    if sha256 not in (None, sources.digest):
        raise ValueError(f"{file} has changed since the run began; restore it, or start a new run")
    known = _loaded.get(sources.file)
    if known is None or known[0] != sources.digest:
        _loaded[sources.file] = known = sources.digest, _execute(sources)
    return known[1]


def run_afresh(module: ModuleType) -> ModuleType:
    """Runs the file of a module again, as it was read, so that what it makes (networks) belongs to the caller alone."""
    return _execute(_sources(module))


def modules_beside(module: ModuleType) -> list[ModuleType]:
    """The neighbours that a user's file has imported."""
    return [each for each in list(sys.modules.values()) if each is not module and is_of(each, _sources(module))]


def digest_of(module: ModuleType) -> str:
    """The digest of what was run as a module."""
    return _sources(module).digest


def digest(file: Path) -> str:
    """SHA-256 of a file and of the neighbours it imports, with their names, in hexadecimal; nothing is run."""
    return Sources.read(file).digest


def _sources(module: ModuleType) -> Sources:
    loader = loader_of(module)
    assert loader is not None, f"{module.__name__} is no user's file"
    return loader.sources


def _execute(sources: Sources) -> ModuleType:
    file = sources.file
    package = f"{PREFIX}{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}"
    name = f"{package}.{re.sub(r'[^0-9a-zA-Z_]', '_', file.stem)}"
    spec = spec_of(name, sources, file.stem, file.name)
    module, parent = module_from_spec(spec), module_from_spec(spec_of(package, sources, "", None))
    with while_running(module, sources):
        sys.modules[package], sys.modules[name] = parent, module
        try:
            assert spec.loader is not None
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            place = place_of(error)
            where = f" (at {place})" if place is not None else ""
            raise ValueError(f"{file} does not load: {type(error).__name__}: {error}{where}") from error
    return module

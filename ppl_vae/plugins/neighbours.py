"""Files beside a user's file that it imports, found without running any of them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

__all__ = ["neighbours"]


def neighbours(file: Path) -> list[Path]:
    """The files in a file's folder, and in packages there, that it and they import, in order of their paths.

    Imports inside functions count; modules that a program finds by another way than an import do not.

    Arguments:
        file: The path of the file.
    """
    file = file.resolve()
    found, waiting = set[Path](), [file]
    while waiting:
        here = waiting.pop()
        for module in _imports(here, here.stat().st_mtime_ns):
            new = set(_files(module, here, file.parent)) - found - {file}
            found |= new
            waiting += new
    return sorted(found)


@lru_cache(maxsize=256)
def _imports(file: Path, changed: int) -> list[tuple[int, tuple[str, ...]]]:
    """The modules that a file imports: how many folders up, and the parts of the name; ``changed`` is its age."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # running it says so
        return []
    modules = list[tuple[int, tuple[str, ...]]]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [(0, tuple(alias.name.split("."))) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = tuple(node.module.split(".")) if node.module else ()
            modules += [(node.level, (*parts, alias.name)) for alias in node.names]
    return modules


def _files(module: tuple[int, tuple[str, ...]], importer: Path, folder: Path) -> Iterator[Path]:
    """The files that run when a module is imported, of those in a folder."""
    level, parts = module
    if level == 0 and parts[0] in sys.stdlib_module_names:  # a file of that name does not stand in for it
        return
    place = importer.parents[min(level, len(importer.parents)) - 1] if level else folder
    if place != folder and folder not in place.parents:
        return
    for part in parts:
        for path in (place / f"{part}.py", place / part / "__init__.py"):
            if path.is_file():
                yield path.resolve()
        place = place / part

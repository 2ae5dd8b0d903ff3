"""The order of the package's folders, no circles among its modules, and files of a length that one can read."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ppl_vae"
LAYERS = (
    "plugins",
    "data",
    "distributions",
    "nn",
    "estimators",
    "programs",
    "evidence",
    "objectives",
    "training",
    "diagnostics",
    "runs",
    "studies",
    "cli",
)
"""Lowest first: a folder imports only from itself and from those before it."""
UPWARD: set[tuple[str, str]] = set()
"""Imports against the order that are still to go."""
LONGEST = 300
LONGEST_EXPERIMENT = 250
SOURCES = sorted(PACKAGE.rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def at_module_level(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run as the module is imported."""
    for child in ast.iter_child_nodes(node):
        checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not checking and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from at_module_level(child)


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Modules of the package that import statements name, a submodule where a package's submodule is meant."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"relative import: {ast.unparse(node)}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {module for name in names if (module := module_of(name)) is not None}


def module_of(name: str) -> str | None:
    """The module that defines a dotted name of the package."""
    parts = name.split(".")
    if parts[0] != "ppl_vae":
        return None
    while not (ROOT / Path(*parts)).with_suffix(".py").exists() and not (ROOT / Path(*parts)).is_dir():
        parts.pop()
    return ".".join(parts)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_folder_imports_from_one_above(path):
    folder, *rest = path.relative_to(PACKAGE).parts
    if not rest:
        assert folder in ("__init__.py", "__main__.py"), "modules lie in folders"
        return
    folders = {module.split(".")[1] for module in imported(ast.walk(parsed(path))) if "." in module}
    above = {name for name in folders if LAYERS.index(name) > LAYERS.index(folder)}
    assert above <= {name for file, name in UPWARD if file == str(path.relative_to(PACKAGE))}


def test_modules_do_not_import_each_other_in_circles():
    graph = {}
    for path in SOURCES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        graph[module] = imported(at_module_level(parsed(path))) - {module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_every_folder_of_the_package_has_its_place_in_the_order():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders == set(LAYERS)


def test_files_are_short():
    folders = ("ppl_vae", "models", "guides", "experiments", "benchmarks", "tests", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    limits = {name: LONGEST_EXPERIMENT if name.startswith("experiments/") else LONGEST for name in lengths}
    assert {name: length for name, length in lengths.items() if length > limits[name]} == {}

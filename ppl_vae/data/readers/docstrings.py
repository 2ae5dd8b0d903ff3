"""Docstrings of the scientific packages that are installed: a corpus that needs no download."""

from __future__ import annotations

import ast
import gc
import hashlib
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ppl_vae.data.array_file import ArrayFile
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.download import cache_folder
from ppl_vae.data.files import NotWrittenError, atomic_write
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.readers.csr import entries_of
from ppl_vae.data.source import Source, SourceSplit
from ppl_vae.data.text_file import LARGEST_COUNT, first_wrong
from ppl_vae.data.tokens import ASCII_WORD, count_words
from ppl_vae.plugins.streams import is_terminal

__all__ = ["READER"]


def load_cached(path: Path, key: str) -> Source | None:
    """The source saved under ``key``; ``None`` if there is none or it is damaged."""
    from scipy.sparse import coo_matrix

    if not path.is_file():
        return None
    try:
        with ArrayFile(path) as arrays:
            entries, rows, columns, shape = entries_of(arrays)
            counts = coo_matrix((entries, (rows, columns)), shape=shape).tocsr()
            titles, words, names = (tuple(arrays[name].tolist()) for name in ("titles", "words", "names"))
            labels = arrays["labels"].astype(np.int64)
            sound = (
                arrays["key"].item() == key
                and len(titles) == len(labels) == counts.shape[0]
                and len(words) == counts.shape[1]
                and labels.min() >= 0
                and len(names) == labels.max() + 1
                and first_wrong(entries, low=1, high=LARGEST_COUNT) is None
            )
    except Exception:
        # Damage shows in too many types to list (zip, zlib, header, shape), and the remedy is always to search again.
        return None
    return Source({"train": SourceSplit(counts, labels, titles)}, words, names) if sound else None


def save_cached(path: Path, key: str, source: Source) -> None:
    """Writes a source without splits; a reader sees the old file or the new one, never half of it.

    Raises:
        NotWrittenError: If the folder cannot be written.
    """
    documents, content = source.splits["train"], io.BytesIO()
    np.savez_compressed(
        content,
        key=np.array(key),
        format=np.array(b"csr"),
        data=documents.counts.data,
        indices=documents.counts.indices,
        indptr=documents.counts.indptr,
        shape=np.array(documents.counts.shape),
        labels=documents.labels if documents.labels is not None else np.zeros(0, dtype=np.int64),
        titles=np.array(documents.titles),
        words=np.array(source.words),
        names=np.array(source.label_names),
    )
    atomic_write(path, content.getvalue())


PACKAGES = (
    "arviz",
    "jax",
    "matplotlib",
    "networkx",
    "numpy",
    "numpyro",
    "pandas",
    "pyro",
    "scipy",
    "skimage",
    "sklearn",
    "statsmodels",
    "sympy",
    "torch",
    "xarray",
    "zuko",
)
"""Import names of the packages that are looked at, where they are installed."""

_DISTRIBUTIONS = {"pyro": "pyro-ppl", "skimage": "scikit-image", "sklearn": "scikit-learn"}

_SHORTEST = 20

_MOST_PER_PACKAGE = 1_500

_NOT_SEARCHED = {"tests", "test", "_tests", "testing", "_vendor", "site-packages"}

# Part of the cache's key: raise it when a change here changes what is found.
_FORMAT = 1


def read(cache: Path | None) -> Source:
    """Reads docstrings of the packages that are installed; see :func:`read_docstrings`."""
    return read_docstrings(cache_folder(cache))


def read_docstrings(cache: Path, packages: Sequence[str] = PACKAGES) -> Source:
    """Docstrings of modules, classes and functions, labelled by package; nothing is imported, only read.

    Left out are tests, docstrings of fewer than 20 words and exact repetitions. A package gives at most 1,500
    documents, so that none dominates: its files are read in an order that only their names decide until there are
    enough. The result is stored in ``cache`` under the packages' versions.

    Arguments:
        cache: Folder of the stored result. If it cannot be written, a note says so and the next call searches again.
        packages: Import names; those not installed are passed over.

    Raises:
        ValueError: If none of the packages is installed.
    """
    installed = {name: folders for name in sorted(packages) if (folders := _folders(name))}
    if not installed:
        raise ValueError(f"none of {', '.join(packages)} is installed; install one or load another corpus")
    key = _key(installed)
    path = cache / f"docstrings-{key[:16]}.npz"
    source = load_cached(path, key)
    if source is not None:
        return source
    source = _search(installed)
    try:
        save_cached(path, key, source)
    except NotWrittenError as error:
        note = f"the cache folder {cache} cannot be written ({error.reason}): the next run searches again"
        source = Source(source.splits, source.words, source.label_names, (note,))
    return source


def _folders(package: str) -> tuple[Path, ...]:
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:
        # A module put into sys.modules by hand has no spec.
        return ()
    return tuple(Path(place) for place in (spec and spec.submodule_search_locations) or ())


def _key(packages: Iterable[str]) -> str:
    from importlib import metadata

    parts = [f"format={_FORMAT}"]
    for name in packages:
        try:
            parts.append(f"{name}={metadata.version(_DISTRIBUTIONS.get(name, name))}")
        except metadata.PackageNotFoundError:
            parts.append(f"{name}=?")
    return hashlib.sha256(";".join(parts).encode()).hexdigest()


def _search(installed: dict[str, tuple[Path, ...]]) -> Source:
    from rich.console import Console
    from rich.progress import Progress

    documents: list[tuple[str, str]] = []
    packages: list[int] = []
    seen: set[str] = set()
    console = Console(stderr=True)
    with _no_collection(), Progress(console=console, transient=True, disable=not is_terminal(sys.stderr)) as progress:
        task = progress.add_task("reading docstrings", total=len(installed))
        for number, (package, folders) in enumerate(installed.items()):
            chosen = sorted(_documents(package, folders, seen))
            documents.extend(chosen)
            packages.extend([number] * len(chosen))
            progress.advance(task)
    # Only packages with documents become classes.
    used, labels = np.unique(np.array(packages, dtype=np.int64), return_inverse=True)
    names = tuple(installed)
    counts, words = count_words((text for _, text in documents), ASCII_WORD)
    split = SourceSplit(counts, labels.astype(np.int64), tuple(title for title, _ in documents))
    return Source({"train": split}, words, tuple(names[i] for i in used))


@contextmanager
def _no_collection() -> Iterator[None]:
    # Syntax trees are many objects without cycles: looking for cycles among them doubles the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _documents(package: str, folders: Sequence[Path], seen: set[str]) -> list[tuple[str, str]]:
    documents: list[tuple[str, str]] = []
    for module, path in _modules(package, folders):
        for title, text in _docstrings(module, path):
            if text not in seen and len(ASCII_WORD.findall(text.lower())) >= _SHORTEST:
                seen.add(text)
                documents.append((title, text))
                if len(documents) == _MOST_PER_PACKAGE:
                    return documents
    return documents


def _modules(package: str, folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """Dotted names and files of a package's modules, in the order of a hash of the name."""
    modules = []
    for root in folders:
        for folder, inner, files in os.walk(root):
            inner[:] = [name for name in inner if name not in _NOT_SEARCHED]
            for name in files:
                if name.endswith(".py") and not name.startswith("test_") and name != "conftest.py":
                    parts = (package, *Path(folder, name).relative_to(root).with_suffix("").parts)
                    modules.append((".".join(part for part in parts if part != "__init__"), Path(folder, name)))
    return sorted(sorted(modules), key=lambda module: hashlib.sha256(module[0].encode()).digest())


def _docstrings(module: str, path: Path) -> Iterator[tuple[str, str]]:
    try:
        with warnings.catch_warnings():
            # Other people's invalid escapes are not this user's concern, and with -W error no reason to skip a file.
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    pending: list[tuple[str, ast.AST]] = [(module, tree)]
    while pending:
        name, node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield name, text
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for child in _statements(node):
                if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    pending.append((f"{name}.{child.name}", child))
                else:
                    pending.append((name, child))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    for block in ("body", "orelse", "handlers", "finalbody"):
        yield from getattr(node, block, ())


READER = Reader(
    "docstrings",
    "docstrings of the installed scientific packages, labelled by package; needs no network",
    PackedCounts,
    read,
    word=ASCII_WORD,
)

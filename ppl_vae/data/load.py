"""Loads a corpus by its name or path with the reader that recognises it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.folders import IMAGES
from ppl_vae.data.splits import prepare
from ppl_vae.data.text_file import reason, shown
from ppl_vae.plugins.discovery import Plugin, available
from ppl_vae.plugins.nearest import NotFoundError
from ppl_vae.plugins.options import checked

if TYPE_CHECKING:
    from ppl_vae.data.readers.base import Reader

__all__ = ["broken_readers", "corpora", "find_reader", "load_corpus", "reader_options"]


def load_corpus(
    name: str = "docstrings",
    *,
    validation: float = 0.1,
    seed: int = 0,
    cache: Path | None = None,
    **options: int | float | bool | str,
) -> Corpus:
    """Loads documents as word counts, or other data as tensors, in three splits.

    The vocabulary is the words that occur in the most documents of the full training split, ties by word id;
    validation documents are held out of the training documents after that choice. A source without a test split
    gives a tenth of its data to the test, the same ones for every seed. Documents without a word of the vocabulary
    are dropped. ``notes`` of the result lists all this.

    Arguments:
        name: A name of :func:`corpora` or the path of a file or folder. A name wins over a path: a folder called
            ``docstrings`` is ``./docstrings``. Text files may be compressed (``.gz``, ``.xz``).
        validation: The fraction of the training data to hold out, in ``[0, 1)``.
        seed: Chooses the validation data. The global random state is neither used nor changed.
        cache: Folder for what is extracted or downloaded once, by default the user's cache folder. Data sets are looked
            for and downloaded to the folder that the environment variable ``PPL_VAE_DATA`` names, if it is set.
        options: Those of the reader, such as ``vocabulary`` of documents (number of words kept, 10,000 by default),
            ``image_size`` and ``dequantise`` of images.

    Raises:
        ValueError: If the name is unknown, the reader has no such option, an argument is out of range, the data are
            missing, malformed or cannot be downloaded, or a split ends without data.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "poems.csv"
        ...     _ = path.write_text("text,split\\nrose is a rose,train\\nis a rose,validation\\na rose is,test\\n")
        ...     corpus = load_corpus(str(path))
        >>> corpus.vocabulary
        ('is', 'rose')
        >>> corpus.train.values.lengths
        tensor([3.])
        >>> load_corpus("bars").train.values.shape
        torch.Size([9000, 16])
    """
    try:
        reader, chosen = reader_options(name, options)
        words = {key: chosen.pop(key) for key in ("vocabulary",) if key in chosen}
        source = reader.read(cache if reader.named else Path(name), **chosen)
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({error}); check the path and its permissions") from error
    if isinstance(source, Corpus):
        return source
    corpus = prepare(str(name), source, validation=validation, seed=seed, **words)
    return replace(corpus, word=reader.word)


def reader_options(name: str, options: Mapping[str, int | float | bool | str]) -> tuple[Reader, dict[str, Any]]:
    """The reader of a corpus, and the checked values of its options that are given.

    Raises:
        ValueError: If it does not take one of them, naming those that do.
    """
    reader = find_reader(name)
    names = [option.name for option in reader.options]
    for unknown in (option for option in options if option not in names):
        takers = [other.name for other in corpora().values() if any(unknown == each.name for each in other.options)]
        which = f", which only {', '.join(takers)} take" if takers else ""
        form = name if reader.named else f"{name} (read as {reader.name})"
        raise ValueError(
            f"{form} does not take {unknown}{which}; leave --{unknown.replace('_', '-')} out (its options: "
            f"{', '.join(names) or 'none'})"
        )
    return reader, checked(reader.options, options, name)


def corpora(kind: type[PackedCounts] | type[Tensor] | None = None) -> dict[str, Reader]:
    """Readers by the name of their corpus or the form of their paths: named corpora first.

    Arguments:
        kind: Those of documents or of tensors alone.

    Example:
        >>> print(corpora()["bars"].line)
        bars and stripes, 4 x 4 binary images, (16,); needs no network
    """
    declared = [reader for _, reader in _scan()[0] if kind is None or reader.holds(kind)]
    return {reader.name: reader for reader in sorted(declared, key=lambda reader: not reader.named)}


def broken_readers() -> dict[str, str]:
    """Files of the working folder's ``readers/`` that do not load, with the reason."""
    return _scan()[1]


def find_reader(name: str) -> Reader:
    """The reader of a corpus's name or of a path.

    Raises:
        ValueError: If there is none, listing the choices, or more than one, naming them.
    """
    return _found(name)[1]


def reader_plugin(name: str) -> Plugin:
    """The file of the reader of a corpus's name or of a path; errors as of :func:`find_reader`."""
    return _found(name)[0]


def _found(name: str) -> tuple[Plugin, Reader]:
    declared, broken = _scan()
    path = Path(name)
    candidates = [(plugin, reader) for plugin, reader in declared if reader.named and reader.name == name]
    if not candidates:
        if "\0" in name:
            raise ValueError(f"{shown(name)} is no path: it has a null character; check it")
        try:
            candidates = [(plugin, reader) for plugin, reader in declared if reader.recognises(path)]
        except OSError as error:  # longer than a name may be
            raise ValueError(f"{shown(name)} is no path of data ({reason(error)}); check it") from error
        candidates = [(plugin, reader) for plugin, reader in candidates if not reader.fallback] or candidates
    if len(candidates) > 1:
        places = " and ".join(f"{reader.name} ({plugin.file})" for plugin, reader in candidates)
        raise ValueError(
            f"{name!r} is read by {places}; let only one of them match: change the name, suffixes or "
            "matches of your own reader, or give its file the name of the one that it replaces"
        )
    if candidates:
        return candidates[0]
    if path.suffix.lower() in IMAGES and path.is_file():
        raise ValueError(
            f"{shown(name, 300)} is a single picture; give the folder of your pictures (ppl-vae list corpora: IMAGES/)"
        )
    unread = "".join(f"\n  {reason}" for reason in broken.values())
    fault = "has a format that no reader recognises" if path.exists() else "is neither a corpus nor a file or folder"
    nearest = "".join(f"\n  {reader.name}  {reader.line}" for reader in _nearest(path, [each for _, each in declared]))
    raise (ValueError if path.exists() else NotFoundError)(
        f"{shown(name, 300)} {fault}; the nearest of those that are read (ppl-vae list corpora has all of them):"
        f"{nearest}" + (f"\nnot loaded:{unread}" if broken else "")
    )


def _nearest(path: Path, readers: list[Reader]) -> list[Reader]:
    """Three readers by how much their names and endings look like a path's, for a file or folder those of such."""
    wanted = path.name.lower()

    def likeness(reader: Reader) -> float:
        names = (reader.name.lower(), *reader.suffixes)
        best = max(SequenceMatcher(None, wanted, each).ratio() for each in names)
        if any(suffix in wanted for suffix in reader.suffixes):
            best += 1  # such as counts.csv.zip
        if path.exists():
            best += (not reader.named) + (reader.name.endswith("/") == path.is_dir())
        return best

    return sorted(readers, key=likeness, reverse=True)[:3]


def _scan() -> tuple[list[tuple[Plugin, Reader]], dict[str, str]]:
    """All readers with their files; and the user's files that do not load, with the reason."""
    declared: list[tuple[Plugin, Reader]] = []
    broken: dict[str, str] = {}
    for plugin in available("readers").values():
        if not plugin.shipped and not _declares(plugin.file):
            continue
        try:
            declared += [(plugin, reader) for reader in _declared(plugin)]
        except ValueError as error:
            broken[str(plugin.file)] = str(error)
    return declared, broken


def _declared(plugin: Plugin) -> tuple[Reader, ...]:
    from ppl_vae.data.readers.base import Reader

    module = plugin.load()
    declared = module.READERS if hasattr(module, "READERS") else (module.READER,)
    for reader in declared:
        if not isinstance(reader, Reader):
            raise ValueError(f"{plugin.file} declares {reader!r}, which is no Reader; see ppl_vae.data.readers.base")
        if not plugin.shipped:
            _check_options(plugin, reader)
    return tuple(declared)


def _check_options(plugin: Plugin, reader: Reader) -> None:
    """Refuses a user's reader whose options cannot be read, which every command that lists options would meet."""
    try:
        required = [option.name for option in reader.options if option.required]
    except (NameError, TypeError, StopIteration, ValueError) as error:
        raise ValueError(f"{plugin.file}, reader {reader.name}: its options cannot be read ({error})") from error
    if required:
        raise ValueError(f"{plugin.file}, reader {reader.name}: give {', '.join(required)} a default")


def _declares(file: Path) -> bool:
    """Whether a file assigns READER or READERS: a folder called readers may hold other programs, which are not run."""
    try:
        body = ast.parse(file.read_text(), str(file)).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return True  # loading it says what is wrong
    targets = [
        target
        for node in body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else (node.target,))
    ]
    return any(isinstance(target, ast.Name) and target.id in ("READER", "READERS") for target in targets)

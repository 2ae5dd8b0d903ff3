"""The declaration of a reader: of a named corpus, or of a format of files or folders."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.source import Source
from ppl_vae.data.splits import prepare
from ppl_vae.data.text_file import plain_name
from ppl_vae.data.tokens import WORD
from ppl_vae.plugins.options import Option, options_of

__all__ = ["Reader"]


@dataclass(frozen=True)
class Reader:
    """Reads a named corpus, or the files or folders of a format.

    A file of ``readers/`` declares one as ``READER``, or several as a tuple ``READERS``. It is imported whenever
    corpora are listed, so it imports what takes time inside ``read``.

    Arguments:
        name: Name of a corpus (``"mnist"``), or how a path looks, as users see it (``"FILE.csv"``, ``"FOLDER/"``).
        line: What it holds, in one line.
        kind: :class:`~ppl_vae.data.counts.PackedCounts` for documents, or :class:`torch.Tensor`. A reader of tensors
            with an option ``counts`` gives documents, too.
        read: Returns the data, or a corpus that is split and cut already. Its first argument is the path, or for a
            named corpus the folder to keep downloads in (None is the user's cache folder). The others are options of
            ``load_corpus``: annotated, with a default and a line in the docstring.
        suffixes: How the names of its files end, in lower case and without ``.gz`` or ``.xz``.
        matches: Whether it reads a path; where there are suffixes, a file with one of them. A reader with neither
            suffixes nor this is a named corpus.
        fallback: Whether it reads only what no other reader matches.
        parts: As ``read``, of files that may be larger than memory: the same data in parts, each a source, one after
            the other; None where ``read`` is all there is.
        word: What a word of a text is; queries are split by it.
        log_density: Log-density of data under the distribution they are drawn from, ``(data, *shape)`` to
            ``(data,)``, in nats, where that is known.
    """

    name: str
    line: str
    kind: type[PackedCounts] | type[Tensor]
    read: Callable[..., Source | Corpus]
    suffixes: tuple[str, ...] = ()
    matches: Callable[[Path], bool] | None = None
    fallback: bool = False
    parts: Callable[..., Iterator[Source]] | None = None
    word: re.Pattern[str] = WORD
    log_density: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def named(self) -> bool:
        """Whether it is a corpus chosen by its name, and not a format recognised by the path."""
        return not self.suffixes and self.matches is None

    @property
    def prepared(self) -> bool:
        """Whether it reads corpora, whose splits and vocabulary are chosen already."""
        return inspect.signature(self.read).return_annotation in (Corpus, Corpus.__name__)

    def holds(self, kind: type[PackedCounts] | type[Tensor]) -> bool:
        """Whether it reads data of a kind, if need be by its option ``counts``."""
        return kind is self.kind or "counts" in inspect.signature(self.read).parameters

    def recognises(self, path: Path) -> bool:
        """Whether it is a format that a file or folder has."""
        if self.named or self.suffixes and (path.is_dir() or not plain_name(path).endswith(self.suffixes)):
            return False
        return self.matches is None or self.matches(path)

    @cached_property
    def options(self) -> list[Option]:
        """What may be chosen: the arguments of ``read`` after the first, and for documents the vocabulary's size.

        Example:
            >>> from ppl_vae.data.readers.mnist import READERS
            >>> [option.name for option in READERS[0].options]
            ['image_size', 'dequantise', 'binarise']
        """
        place = next(iter(inspect.signature(self.read).parameters))
        options = options_of(self.read, skip=(place,))
        if self.holds(PackedCounts) and not self.prepared:
            options += options_of(prepare, skip=("name", "source", "validation", "seed"))
        return options

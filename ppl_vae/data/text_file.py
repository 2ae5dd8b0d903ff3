"""Text files, compressed or not; every fault is a ``ValueError`` that names file, line and remedy."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.sizes import check_bytes, unpacked
from ppl_vae.plugins.nearest import NotFoundError

__all__ = [
    "LARGEST_COUNT",
    "LARGEST_ID",
    "TextFile",
    "beginning",
    "first_wrong",
    "plain_name",
    "read_bytes",
    "reason",
    "shown",
    "unquoted",
]

LARGEST_COUNT = 2**24
"""Counts are stored as 32-bit floats, which hold every whole number up to this one."""

LARGEST_ID = 2**31 - 1

_COPIES = 12
"""Bytes that reading takes for each byte of text, its characters, words and numbers; measured are 9 to 13."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_NO_NUMBER = re.compile(r"[^0-9eE+.\- \t\n]")
"""Characters that no table of numbers has: parsers take digits of other scripts, ``1_0`` and ``nan`` for numbers."""


def plain_name(path: Path) -> str:
    """The file's name in lower case without the ending of its compression.

    Example:
        >>> plain_name(Path("data/Docword.kos.txt.gz"))
        'docword.kos.txt'
    """
    return re.sub(r"\.(gz|xz)$", "", path.name.lower())


def first_wrong(values: NDArray[np.generic], *, low: int, high: int) -> int | None:
    """Position of the first entry that is no whole number in ``[low, high]``; ``None`` if all are.

    Example:
        >>> first_wrong(np.array([3.0, 0.5]), low=0, high=9)
        1
    """
    # Not-a-number fails every comparison, so it is wrong too.
    right = (values >= low) & (values <= high) & (values == np.rint(values))  # type: ignore[operator]
    return None if right.all() else int(np.argmin(right))


def shown(value: object, most: int = 60) -> str:
    """What a file holds, for a message: one line, at most so long, without characters that a terminal obeys.

    Example:
        >>> shown("a\\x1b[31m"), len(shown("a" * 99))
        ("'a\\\\x1b[31m'", 62)
    """
    if isinstance(value, str):
        return repr(value if len(value) <= most else value[: most - 3] + "...")
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def unquoted(text: str, most: int = 60) -> str:
    """Text that a file holds, likewise and without quotation marks."""
    return shown(text, most)[1:-1]


def reason(error: BaseException) -> str:
    """What an error of a library says, likewise."""
    return unquoted(" ".join(str(error).split()) or type(error).__name__, 160).rstrip(".")


def read_bytes(path: Path) -> bytes:
    """Content of a file, compressed as it is.

    Raises:
        ValueError: If it is missing, no regular file, unreadable or larger than :func:`~ppl_vae.data.sizes.check_bytes`
            allows.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is no regular file; give a file with the data")
        check_bytes(str(path), path.stat().st_size, "on disk")
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}; check the path") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); check what it is and its permissions") from None


def beginning(path: Path, size: int = 2**22 + 1) -> str:
    """The first characters of a text file, compressed or not; nothing of one that is missing or damaged."""
    name = path.name.lower()
    opening = gzip.open if name.endswith(".gz") else lzma.open if name.endswith(".xz") else open
    try:
        if not path.is_file():
            return ""
        with opening(path, "rb") as file:
            content = file.read(size)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, MemoryError, ValueError):
        return ""
    return content.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True)
class TextFile:
    """Contents of a text file and the name that errors call it by.

    Arguments:
        where: Path for messages.
        content: The bytes, uncompressed.
    """

    where: str
    content: bytes

    @classmethod
    def open(cls, path: Path, announced: Callable[[bytes], int] | None = None) -> TextFile:
        """Reads a file; the endings ``.gz``, ``.tgz`` and ``.xz`` are uncompressed.

        Arguments:
            path: The file.
            announced: As of :func:`~ppl_vae.data.sizes.unpacked`.

        Raises:
            ValueError: If the file is missing, unreadable, truncated or damaged.
        """
        return cls.unpack(str(path), read_bytes(path), announced)

    @classmethod
    def unpack(cls, where: str, content: bytes, announced: Callable[[bytes], int] | None = None) -> TextFile:
        """A file from bytes that are still compressed if ``where`` has such an ending."""
        try:
            if where.endswith((".gz", ".tgz")):
                with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                    content = unpacked(where, packed.read, announced)
            elif where.endswith(".xz"):
                with lzma.LZMAFile(io.BytesIO(content)) as packed:
                    content = unpacked(where, packed.read, announced)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, MemoryError) as error:  # xz says how much it takes
            raise ValueError(
                f"{where} is truncated or not compressed as its ending says ({reason(error)}); download or "
                "compress it again"
            ) from None
        return cls(where, content)

    def error(self, line: int, problem: str, remedy: str) -> ValueError:
        """The error for a fault in line ``line``, counted from 1."""
        return ValueError(f"{self.where}, line {line}: {problem}; {remedy}")

    def check_size(self, copies: int) -> None:
        """Refuses a text if so many bytes for each of its own are more than may be taken."""
        check_bytes(self.where, copies * len(self.content), "while it is read as text")

    @cached_property
    def text(self) -> str:
        """The contents as text, with the line ends of any system as ``\\n``.

        Raises:
            ValueError: If they are not UTF-8, or what is read off them would not fit into memory.
        """
        self.check_size(_COPIES)
        try:
            text = self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = self.content.count(b"\n", 0, error.start) + 1
            raise self.error(
                line, f"byte 0x{self.content[error.start]:02x} is not UTF-8 text", "save the file as UTF-8"
            ) from None
        return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text

    @cached_property
    def lines(self) -> list[str]:
        """The lines without their ends; words may hold any other character that Unicode calls a line end."""
        lines = self.text.split("\n")
        return lines[:-1] if lines[-1] == "" else lines

    def names(self, what: str, *, distinct: bool = False) -> tuple[str, ...]:
        """Names, one per line.

        Arguments:
            what: What has the names.
            distinct: Whether no two are the same.

        Raises:
            ValueError: If a line is blank: the lines after it would take the wrong ids. If two are the same that should
                be distinct.
        """
        names = tuple(line.strip() for line in self.lines)
        if "" in names:
            line = names.index("") + 1
            raise self.error(line, f"a blank line where a {what} should be", f"give one {what} per line")
        if distinct and len(set(names)) < len(names):
            first: dict[str, int] = {}
            line, name = next((i, n) for i, n in enumerate(names, start=1) if first.setdefault(n, i) < i)
            raise self.error(
                line, f"the {what} {shown(name)} stands in line {first[name]}, too", f"give every {what} once"
            )
        return names

    def numbers(self, columns: int, layout: str, *, skip: int = 0) -> NDArray[np.float64]:
        """A table of numbers, ``(rows, columns)``, separated by blanks; blank lines are passed over.

        Arguments:
            columns: The number of columns.
            layout: What a row should look like, for the message.
            skip: Lines at the top that are not part of the table.

        Raises:
            ValueError: If a line has another number of columns or something that is no finite number.
        """
        body = self.text.split("\n", skip)[-1]
        if not body or body.isspace():
            return np.zeros((0, columns))
        try:
            wrong = _NO_NUMBER.search(body)
            table = np.full((1, 1), np.nan) if wrong else np.loadtxt(io.StringIO(body), comments=None, ndmin=2)
        except ValueError:
            table = np.full((1, 1), np.nan)
        if table.shape[1] != columns or not np.isfinite(table).all():
            raise self._first_bad_line(columns, layout, skip)
        return table

    def _first_bad_line(self, columns: int, layout: str, skip: int) -> ValueError:
        # Called for a refused file alone: a search line by line would be slow for every file.
        for number, line in enumerate(self.lines[skip:], start=skip + 1):
            cells = re.split("[ \t]+", line.strip(" \t"))
            if cells != [""] and not (len(cells) == columns and all(map(_is_number, cells))):
                return self.error(number, f"expected {layout}, got {shown(line)}", "correct or remove the line")
        return ValueError(f"{self.where}: expected rows of {layout}; check the file's format")

    def line_of(self, row: int, *, skip: int = 0) -> int:
        """The line, counted from 1, that row ``row`` of :meth:`numbers` stands in."""
        filled = (number for number, line in enumerate(self.lines[skip:], start=skip + 1) if line.strip(" \t"))
        return next(number for position, number in enumerate(filled) if position == row)


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None and math.isfinite(float(cell))

"""Seeded damage to bytes: what disks, transfers, editors and attackers do to a file."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

__all__ = ["MUTATORS", "mutated"]

Mutator = Callable[[np.random.Generator, bytes], bytes]

_NUMBER = re.compile(rb"[-+]?\d+(\.\d+)?")

_TOKEN = re.compile(rb"[^\s,;:\"\[\]{}()]+")

NUMBERS = (
    "0",
    "-1",
    "1",
    "+2",
    "1e0",
    "0.5",
    "007",
    "2147483647",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "16777216",
    "16777217",
    "1000000000",
    "1e308",
    "1e400",
    "-1e308",
    "1e-400",
    "nan",
    "inf",
    "-inf",
    "0x10",
    "1_0",
    "1,5",
    "1.",
    ".5",
    "--1",
    "١",
    "²",
    "１",
    "9" * 400,
    "9" * 5000,
    "",
    "null",
    "true",
    '"1"',
)
"""What a number of a text may become; three are digits of other scripts."""

WORDS = ("", "a", "[bold]", "../../up", "\x1b[31m", "é", "\u2028", "\x00", "w" * 256, "w" * 70_000, "--", "__class__")
"""What a word of a text may become."""

_SIZES = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
"""What a whole number of a binary file may become."""

_FLOATS = tuple(np.array([np.nan, np.inf, -np.inf, 1e308, -1.0, 0.0]))


def flip_bits(rng: np.random.Generator, data: bytes) -> bytes:
    """Flips one to eight bits."""
    array = np.frombuffer(data, np.uint8).copy()
    for _ in range(int(rng.integers(1, 9))):
        array[rng.integers(len(array))] ^= 1 << int(rng.integers(8))
    return array.tobytes()


def set_byte(rng: np.random.Generator, data: bytes) -> bytes:
    """Replaces one byte by an arbitrary one."""
    place = int(rng.integers(len(data)))
    return data[:place] + bytes([int(rng.integers(256))]) + data[place + 1 :]


def insert(rng: np.random.Generator, data: bytes) -> bytes:
    """Inserts a few arbitrary bytes."""
    place = int(rng.integers(len(data) + 1))
    return data[:place] + rng.bytes(int(rng.integers(1, 9))) + data[place:]


def delete(rng: np.random.Generator, data: bytes) -> bytes:
    """Deletes a few bytes."""
    place = int(rng.integers(len(data)))
    return data[:place] + data[place + int(rng.integers(1, 17)) :]


def truncate(rng: np.random.Generator, data: bytes) -> bytes:
    """Cuts the file short, perhaps to nothing."""
    return data[: int(rng.integers(len(data)))]


def duplicate(rng: np.random.Generator, data: bytes) -> bytes:
    """Repeats a piece."""
    start, end = np.sort(rng.integers(0, len(data) + 1, 2))
    return data[:end] + data[start:]


def swap(rng: np.random.Generator, data: bytes) -> bytes:
    """Swaps two neighbouring pieces."""
    a, b, c = np.sort(rng.integers(0, len(data) + 1, 3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _lines(change: Callable[[np.random.Generator, list[bytes]], list[bytes]]) -> Mutator:
    def mutate(rng: np.random.Generator, data: bytes) -> bytes:
        return b"".join(change(rng, data.splitlines(keepends=True)))

    return mutate


def _duplicate_line(rng: np.random.Generator, lines: list[bytes]) -> list[bytes]:
    place = int(rng.integers(len(lines)))
    return lines[: place + 1] + lines[place:]


def _drop_line(rng: np.random.Generator, lines: list[bytes]) -> list[bytes]:
    place = int(rng.integers(len(lines)))
    return lines[:place] + lines[place + 1 :]


def _shuffle_lines(rng: np.random.Generator, lines: list[bytes]) -> list[bytes]:
    return [lines[place] for place in rng.permutation(len(lines))]


def _replaced(pattern: re.Pattern[bytes], choices: tuple[str, ...]) -> Mutator:
    def mutate(rng: np.random.Generator, data: bytes) -> bytes:
        found = list(pattern.finditer(data))
        if not found:
            return set_byte(rng, data)
        match = found[int(rng.integers(len(found)))]
        return data[: match.start()] + choices[int(rng.integers(len(choices)))].encode() + data[match.end() :]

    return mutate


def duplicate_token(rng: np.random.Generator, data: bytes) -> bytes:
    """Puts one word or number in the place of another."""
    found = list(_TOKEN.finditer(data))
    if len(found) < 2:
        return duplicate(rng, data)
    here, other = (found[place] for place in rng.integers(len(found), size=2))
    return data[: here.start()] + other[0] + data[here.end() :]


def set_size(rng: np.random.Generator, data: bytes) -> bytes:
    """Replaces a whole number or a float of a binary file, most often near its beginning."""
    width = int(rng.choice([1, 2, 4, 8]))
    order = "little" if rng.random() < 0.5 else "big"
    limit = len(data) if rng.random() < 0.3 else min(len(data), 64)
    place = int(rng.integers(limit)) // width * width
    if width > 2 and rng.random() < 0.3:
        with np.errstate(over="ignore"):
            number = np.array(_FLOATS[int(rng.integers(len(_FLOATS)))], dtype=f"<f{width}").tobytes()
    else:
        value = _SIZES[int(rng.integers(len(_SIZES)))] % 2 ** (8 * width)
        number = value.to_bytes(width, order)  # type: ignore[arg-type]
    return data[:place] + number + data[place + width :]


def nest(rng: np.random.Generator, data: bytes) -> bytes:
    """Inserts brackets nested deeper than a parser written by recursion can follow."""
    place, kind = int(rng.integers(len(data) + 1)), int(rng.integers(3))
    return data[:place] + (b"[" * 5000, b"[" * 5000 + b"]" * 5000, b'{"a":' * 5000)[kind] + data[place:]


def repeat(rng: np.random.Generator, data: bytes) -> bytes:
    """Repeats the whole file some hundred times."""
    return data * int(rng.integers(2, max(3, min(300, 200_000 // len(data)))))


MUTATORS: tuple[tuple[Mutator, int], ...] = (
    (flip_bits, 4),
    (set_byte, 4),
    (insert, 3),
    (delete, 3),
    (truncate, 2),
    (duplicate, 2),
    (swap, 2),
    (_lines(_duplicate_line), 2),
    (_lines(_drop_line), 2),
    (_lines(_shuffle_lines), 1),
    (_replaced(_NUMBER, NUMBERS), 8),
    (_replaced(_TOKEN, WORDS), 2),
    (duplicate_token, 4),
    (set_size, 4),
    (nest, 1),
    (repeat, 1),
)
"""Every mutator with its weight."""

_WEIGHTS = np.array([weight for _, weight in MUTATORS]) / sum(weight for _, weight in MUTATORS)


def mutated(rng: np.random.Generator, data: bytes) -> bytes:
    """The data after one to three mutations; an empty file gets bytes."""
    for _ in range(1 + int(rng.geometric(0.7) > 1) + int(rng.random() < 0.1)):
        data = MUTATORS[int(rng.choice(len(MUTATORS), p=_WEIGHTS))][0](rng, data) if data else rng.bytes(8)
    return data

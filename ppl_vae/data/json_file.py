"""JSON that files hold, read strictly."""

from __future__ import annotations

import json
import math
from typing import Any

from ppl_vae.data.text_file import reason, shown

__all__ = ["json_of"]

_DIGITS = 300
"""Most digits of a whole number; every double is below 10 to the 309."""


def json_of(where: str, content: bytes, remedy: str, *, infinite: bool = False) -> Any:
    """What a JSON document holds.

    Arguments:
        where: What errors call it.
        content: The document.
        remedy: What to do about a damaged one.
        infinite: Whether numbers may be infinite or NaN.

    Raises:
        ValueError: If it is no UTF-8 or no JSON, is nested deeper than Python follows, has a name twice in one object,
            a number that no double holds, or a text that no file can hold.

    Example:
        >>> json_of("a.json", b'{"a": 1, "a": 2}', "restore it")
        Traceback (most recent call last):
            ...
        ValueError: a.json cannot be read: the name 'a' stands twice in one object; restore it
    """

    def finite(number: str) -> float:
        value = float(number)
        if not infinite and not math.isfinite(value):
            raise ValueError(f"{shown(number)} is no finite number")
        return value

    try:
        value = json.loads(
            content.decode(),
            object_pairs_hook=_distinct,
            parse_int=_whole,
            parse_float=finite,
            parse_constant=finite,
        )
        # Half a character, or a character that ends texts in C.
        if "\\u0000" in json.dumps(value, ensure_ascii=False).encode().decode():
            raise ValueError("a text in it has a null character")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} cannot be read: {reason(error)}; {remedy}") from error
    return value


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"{shown(digits)} is no number that a double holds")
    return int(digits)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {shown(next(n for n in names if names.count(n) > 1))} stands twice in one object")
    return content

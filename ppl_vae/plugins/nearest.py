"""The known names that an unknown one may stand for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["NotFoundError", "nearest"]


class NotFoundError(ValueError):
    """What a name or path names is not there: at the command line the usage is wrong, exit code 2."""


def nearest(name: str, names: Iterable[str], count: int = 1) -> list[str]:
    """The nearest of some names, nearest first: those whose words begin with its letters, else those written alike.

    Example:
        >>> nearest("lr", ["clip", "learning_rate"]), nearest("sgd", ["SGD", "Adam"]), nearest("zzz", ["Adam"])
        (['learning_rate'], ['SGD'], [])
    """
    known = {other.lower(): other for other in names}
    word = name.strip("-").lower()
    found = [key for key in known if "".join(part[0] for part in re.findall(r"[a-z0-9]+", key)) == word]
    found = (found if len(word) > 1 else []) or difflib.get_close_matches(name.lower(), known, n=count)
    return [known[key] for key in found[:count]]

"""What is known of programs, for as long as they live."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["Memory"]


MOST_KEPT = 16
"""Number of owners that are kept alive, of those that cannot be watched."""


class Memory:
    """Values by program and further keys; forgotten with the program, or with the owner of a method.

    Of owners that cannot be watched, as of classes with ``__slots__``, the last few are kept alive.
    """

    def __init__(self) -> None:
        self._owners: dict[int, tuple[Callable[[], Any], dict[Any, Any]]] = {}
        self._kept = deque[int]()

    def of(self, program: Callable[..., Any]) -> tuple[dict[Any, Any], Any]:
        """What is known of the program's owner, and the part of the key that tells its methods apart."""
        owner = getattr(program, "__self__", None)
        method = getattr(program, "__func__", None)
        owner = program if owner is None or method is None else owner
        key = id(owner)
        known = self._owners.get(key)
        if known is None or known[0]() is not owner:
            reference: Callable[[], Any]
            try:
                reference = weakref.ref(owner, lambda _: self._owners.pop(key, None))
            except TypeError:
                reference = partial(_itself, owner)
                self._kept.append(key)
                if len(self._kept) > MOST_KEPT:
                    self._owners.pop(self._kept.popleft(), None)
            known = self._owners[key] = reference, {}
        return known[1], method


def _itself(owner: Any) -> Any:
    return owner

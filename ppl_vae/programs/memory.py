"""What is known of programs, for as long as they live."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["Memory"]


class Memory:
    """Values by program and further keys; forgotten with the program, or with the owner of a method."""

    def __init__(self) -> None:
        self._owners: dict[int, tuple[weakref.ref[Any], dict[Any, Any]]] = {}

    def of(self, program: Callable[..., Any]) -> tuple[dict[Any, Any], Any]:
        """What is known of the program's owner, and the part of the key that tells its methods apart."""
        owner = getattr(program, "__self__", None)
        method = getattr(program, "__func__", None)
        owner = program if owner is None or method is None else owner
        key = id(owner)
        known = self._owners.get(key)
        if known is None or known[0]() is not owner:
            try:
                reference = weakref.ref(owner, lambda _: self._owners.pop(key, None))
            except TypeError:
                return {}, method  # cannot be watched, hence not be remembered
            known = self._owners[key] = reference, {}
        return known[1], method

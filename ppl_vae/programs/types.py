"""Names of the types that programs and measurements share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Program", "Progress"]

Program = Callable[..., Any]
"""A Pyro model or guide: a function or module of a batch."""

Progress = Callable[[int], None]
"""Is told how many units of work a step has completed."""

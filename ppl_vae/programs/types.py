"""Types shared by programs and measurements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Program", "Progress"]

Program = Callable[..., Any]
"""A Pyro model or guide: a function or module of a batch."""

Progress = Callable[[int], None]
"""Called with the number of units of work completed since the last call."""

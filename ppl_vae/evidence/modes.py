"""The state in which pairs are measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["evaluating"]


@contextmanager
def evaluating(*programs: Any) -> Iterator[None]:
    """No gradients, and networks in evaluation mode (running statistics, no dropout); undone afterwards."""
    modules = [m for p in programs if isinstance(p, torch.nn.Module) for m in p.modules()]
    modes = [m.training for m in modules]
    for module in modules:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode

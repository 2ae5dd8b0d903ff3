"""The mode in which networks are probed and measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["evaluating", "evaluation_mode"]


@contextmanager
def evaluating(*programs: Any) -> Iterator[None]:
    """No gradients, and networks in evaluation mode; undone afterwards."""
    with evaluation_mode(*programs), torch.no_grad():
        yield


@contextmanager
def evaluation_mode(*programs: Any) -> Iterator[None]:
    """Networks use running statistics, which stay as they are, and no dropout; undone afterwards."""
    modules = [m for p in programs if isinstance(p, torch.nn.Module) for m in p.modules()]
    modes = [m.training for m in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode

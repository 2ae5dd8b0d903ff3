"""The modes in which networks are probed and measured."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch

__all__ = [
    "evaluating",
    "evaluation_mode",
    "frozen",
    "is_capturing",
    "is_probing_shapes",
    "matmul_precision",
    "probing_shapes",
]


def _owners(programs: tuple[Any, ...]) -> list[torch.nn.Module]:
    """The modules that programs are, or are methods of, also behind functools.partial."""
    found = []
    for program in programs:
        while isinstance(program, partial):
            program = program.func
        owner = getattr(program, "__self__", program)
        if isinstance(owner, torch.nn.Module) and owner not in found:
            found.append(owner)
    return found


@contextmanager
def evaluating(*programs: Any) -> Iterator[None]:
    """No gradients, and networks in evaluation mode; undone afterwards."""
    with evaluation_mode(*programs), torch.no_grad():
        yield


@contextmanager
def evaluation_mode(*programs: Any) -> Iterator[None]:
    """Networks use running statistics, which stay as they are, and no dropout; undone afterwards."""
    modules = [module for owner in _owners(programs) for module in owner.modules()]
    modes = [m.training for m in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


@contextmanager
def probing_shapes() -> Iterator[None]:
    """Models are run for the shapes of their sites only, before a guide is built.

    A prior that is made of the guide may then stand in with any distribution of its shape.
    """
    token = _PROBING_SHAPES.set(True)
    try:
        yield
    finally:
        _PROBING_SHAPES.reset(token)


def is_probing_shapes() -> bool:
    """Whether a model is run inside :func:`probing_shapes`."""
    return _PROBING_SHAPES.get()


_PROBING_SHAPES = ContextVar("probing_shapes", default=False)


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """Matrix products of so high a precision, as :func:`torch.set_float32_matmul_precision` names it; undone after."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def frozen(*programs: Any) -> Iterator[None]:
    """No work for the gradients of modules' parameters; undone afterwards."""
    learned = [p for owner in _owners(programs) for p in owner.parameters() if p.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* was not registered in the param store")
            yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def is_capturing() -> bool:
    """Whether work is being recorded rather than done: then no value can be looked at."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()

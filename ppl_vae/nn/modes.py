"""Contexts in which networks are run: evaluation, frozen, shapes only, precision of products."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import torch

__all__ = [
    "capturing",
    "evaluating",
    "evaluation_mode",
    "frozen",
    "is_capturing",
    "is_probing_shapes",
    "matmul_precision",
    "owners",
    "probing_shapes",
]


def owners(programs: tuple[object, ...]) -> list[torch.nn.Module]:
    """The modules among programs, or those whose methods they are, also inside functools.partial."""
    modules = list[torch.nn.Module]()
    for program in programs:
        while isinstance(program, partial):
            program = program.func
        owner = getattr(program, "__self__", program)
        if isinstance(owner, torch.nn.Module) and owner not in modules:
            modules.append(owner)
    return modules


@contextmanager
def evaluating(*programs: object) -> Iterator[None]:
    """Disables gradients and sets networks to evaluation mode; undone afterwards."""
    with evaluation_mode(*programs), torch.no_grad():
        yield


@contextmanager
def evaluation_mode(*programs: object) -> Iterator[None]:
    """Sets networks to evaluation mode: fixed running statistics, no dropout; undone afterwards.

    This holds for the modules of the programs and for every module that is called inside the context.
    """
    modes: dict[torch.nn.Module, bool] = {}

    def evaluate(module: torch.nn.Module, args: object = None) -> None:
        if module.training:
            modes[module] = True
            module.training = False

    for owner in owners(programs):
        for module in owner.modules():
            evaluate(module)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(evaluate)
    try:
        yield
    finally:
        hook.remove()
        for module in modes:
            module.training = True


@contextmanager
def probing_shapes() -> Iterator[None]:
    """Marks runs of models for the shapes of their sites only, before a guide is built.

    A prior that depends on the guide may then be replaced by any distribution of its shape.
    """
    token = _PROBING_SHAPES.set(True)
    try:
        yield
    finally:
        _PROBING_SHAPES.reset(token)


def is_probing_shapes() -> bool:
    """Returns whether a model is run inside :func:`probing_shapes`."""
    return _PROBING_SHAPES.get()


_PROBING_SHAPES = ContextVar("probing_shapes", default=False)


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """Sets the precision of matrix products as :func:`torch.set_float32_matmul_precision` does; undone afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def frozen(*programs: object) -> Iterator[None]:
    """Freezes the parameters of modules, which get no gradients; undone afterwards."""
    learned = [p for owner in owners(programs) for p in owner.parameters() if p.requires_grad]
    if not learned:
        yield
        return
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* was not registered in the param store")
            yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


@contextmanager
def capturing() -> Iterator[None]:
    """Marks work that is recorded to be replayed: it must not read values."""
    token = _CAPTURING.set(True)
    try:
        yield
    finally:
        _CAPTURING.reset(token)


_CAPTURING = ContextVar("capturing", default=False)


def is_capturing() -> bool:
    """Returns whether a step is being recorded, or captured as a CUDA graph, when values cannot be read."""
    return _CAPTURING.get() or torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()

"""The arguments that a program is called with: a batch of several fields is spread into them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Inputs, as_batch
from ppl_vae.programs.types import Program

__all__ = ["ChangedDataError", "argument_names", "arguments", "call", "one_batch", "renamed"]


class ChangedDataError(ValueError):
    """A program that changes its data in place."""


_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def arguments(program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """Positional and keyword arguments of a program, with the fields of a batch spread into them.

    A program of one argument alone that does not take the fields by name gets the container that the user gave, whole.

    Raises:
        ValueError: If the program takes neither, naming its arguments and the fields.
    """
    if len(args) != 1 or kwargs or not isinstance(args[0], Inputs):
        return args, kwargs
    (batch,) = args
    signature = _signature(program)
    if signature is None or _binds(signature, *batch.args, **batch.kwargs):
        return batch.args, batch.kwargs
    if batch.whole is not None and len(signature.parameters) == 1 and _binds(signature, batch):
        return (batch.whole(batch),), {}
    raise _mismatch(program, signature, f"the fields {', '.join(batch.named())}")


def call(program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
    """Runs a program with its :func:`arguments`.

    Raises:
        ValueError: If it does not take them, naming what it takes and the data.
        ChangedDataError: If it changes them.
    """
    taken, named = arguments(program, args, kwargs)
    before = _versions(*args, *kwargs.values())
    try:
        result = program(*taken, **named)
    except TypeError as error:
        signature = _signature(program)
        if signature is None or _binds(signature, *taken, **named):
            raise
        raise _mismatch(program, signature, "one field" if len(args) == 1 else f"{len(args)} fields") from error
    if _versions(*args, *kwargs.values()) != before:
        raise ChangedDataError(
            f"{_name(program)} changes its data in place (as x[...] = 0, x -= 1 and x.clamp_(0) do), so that the next "
            "run has other data, and what was missing or outside a support is not so any more; work on a copy, such as "
            "x = x.clone() or x = x - 1"
        )
    return result


def _versions(*values: object) -> list[int]:
    """How often each tensor was changed in place, as PyTorch counts."""
    each = [field for v in values for field in (v.named().values() if isinstance(v, Inputs) else (v,))]
    return [value._version for value in each if isinstance(value, Tensor) and not value.is_inference()]


def _mismatch(program: Program, signature: inspect.Signature, given: str) -> ValueError:
    name = _name(program)
    if not signature.parameters:
        return ValueError(
            f"{name} takes no arguments, so that its data come from outside and cannot be taken in parts; let it take "
            f"them, def {getattr(program, '__name__', 'model')}(x), and use x inside"
        )
    return ValueError(
        f"{name} takes {', '.join(signature.parameters)}, but the data are {given}: give as many "
        "fields as it takes, by its names if they have names; model and guide take the same ones"
    )


def _name(program: Program) -> str:
    name: str = getattr(program, "__qualname__", type(program).__name__)
    return name


def one_batch(program: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """The arguments of a step of ``pyro.infer.SVI`` as one batch, where they are fields of one length.

    Other arguments stay as they are, and so does a container that the program takes whole.
    """
    if len(args) == 1 and not kwargs:
        (given,) = args
        if isinstance(given, (Tensor, PackedCounts, Inputs)):
            return args, kwargs
        signature = _signature(program)
        if signature is None or _binds(signature, given):
            return args, kwargs
    try:
        return (as_batch(*args, **kwargs),), {}
    except ValueError:
        return args, kwargs


def argument_names(program: Program) -> list[str]:
    """Names of the arguments that a program takes by position."""
    signature = _signature(program)
    parameters = signature.parameters.values() if signature else ()
    return [parameter.name for parameter in parameters if parameter.kind in _BY_POSITION]


def renamed(x: Inputs, names: Sequence[str], by_name: bool) -> Inputs:
    """The fields of a batch by the names of a program's arguments, or by their positions."""
    named = x.named(names)
    return Inputs(**named) if by_name else Inputs(*(named[name] for name in names if name in named))


def _signature(program: Program) -> inspect.Signature | None:
    """What a program takes; None where Python does not know."""
    while isinstance(program, partial) and not program.args and not program.keywords:
        program = program.func
    if isinstance(program, torch.nn.Module):  # one that holds a function takes what the function takes
        program = program.__dict__.get("program", program.forward)
    try:
        return inspect.signature(program)
    except (TypeError, ValueError):
        return None


def _binds(signature: inspect.Signature, *args: object, **kwargs: object) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True

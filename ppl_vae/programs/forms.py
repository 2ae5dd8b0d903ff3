"""The models and guides that a file offers, in the forms in which Pyro's users write them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Literal

import torch
from pyro.nn import PyroModule
from torch import nn

from ppl_vae.plugins.discovery import is_named_after, own_classes
from ppl_vae.programs.types import Program

__all__ = ["Form", "Kind", "choose", "has_state", "is_pair", "offers"]

Form = Literal["class", "pair", "program"]
"""A class of modules, a class with methods ``model`` and ``guide``, or a program as it is: a function or an object."""

Kind = Literal["models", "guides"]

_EXPECTED = {
    "models": "a class of nn.Module whose forward(x) is the model, a class with methods model and guide, or a function "
    "model(x)",
    "guides": "a class of nn.Module built from a model and two data, whose forward(x) is the guide, a class with "
    "methods model and guide, or a function guide(x)",
}


@dataclass(frozen=True)
class Offer:
    """A model or guide of a file.

    Arguments:
        name: Its name in the file.
        form: How it is written.
        value: The class, function or object.
    """

    name: str
    form: Form
    value: Program


def is_pair(value: object) -> bool:
    """Whether a class, or an object, has methods ``model`` and ``guide``."""
    return all(callable(getattr(value, name, None)) for name in ("model", "guide"))


def offers(module: ModuleType, kind: Kind) -> list[Offer]:
    """The models or guides of a file: classes that sample, pairs of methods, and what is called model or guide."""
    result = [Offer(item.__name__, "pair", item) for item in own_classes(module, object) if is_pair(item)]
    for item in own_classes(module, nn.Module):
        if not is_pair(item) and _samples(item) and _is_guide(item) == (kind == "guides"):
            result.append(Offer(item.__name__, "class", item))
    name = kind[:-1]
    value = vars(module).get(name)
    if callable(value) and not isinstance(value, type):
        result.append(Offer(name, "program", value))
    return result


def choose(module: ModuleType, kind: Kind, file: Path, item: str = "") -> Offer:
    """The model or guide of a file: the one asked for, else the one named after file or kind, else the only one.

    Raises:
        ValueError: If there is none, or if there are several, naming them.
    """
    available = offers(module, kind)
    if item:
        return _named(module, kind, file, item)
    # A class that leaves sampling to a helper is a program, too, where there is no other.
    others = [Offer(c.__name__, "class", c) for c in own_classes(module, PyroModule)]
    chosen = (
        [offer for offer in available if offer.form != "program" and is_named_after(offer.name, file)]
        or [offer for offer in available if offer.form == "program"]
        or available
        or [offer for offer in others if is_named_after(offer.name, file)]
        or others
    )
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        names = ", ".join(offer.name for offer in chosen)
        raise ValueError(f"{file} has several {kind}, it defines {names}; say which one: {file.name}:{chosen[0].name}")
    names = ", ".join(c.__name__ for c in own_classes(module, nn.Module)) or "none"
    raise ValueError(f"{file} must define one {kind[:-1]}: {_EXPECTED[kind]}; it defines {names}")


def _named(module: ModuleType, kind: Kind, file: Path, item: str) -> Offer:
    value = vars(module).get(item)
    if isinstance(value, type) and is_pair(value):
        return Offer(item, "pair", value)
    if isinstance(value, type) and issubclass(value, nn.Module):
        return Offer(item, "class", value)
    if callable(value) and not isinstance(value, type):
        return Offer(item, "program", value)
    names = [offer.name for offer in offers(module, kind)] or ["none"]
    raise ValueError(f"{file} has no {kind[:-1]} {item!r}; it defines {', '.join(names)}")


def has_state(module: ModuleType) -> bool:
    """Whether a file, or a file beside it that it imports, makes networks or parameters as it is run."""
    values = list(vars(module).values())
    for value in vars(module).values():
        if isinstance(value, ModuleType) and getattr(value, "__file__", None) and _same_folder(value, module):
            values += vars(value).values()
    return any(
        isinstance(value, nn.Module) or (isinstance(value, torch.Tensor) and value.requires_grad) for value in values
    )


def _same_folder(one: ModuleType, other: ModuleType) -> bool:
    return Path(str(other.__file__)).parent in Path(str(one.__file__)).parents


def _is_guide(kind: type) -> bool:
    """Whether a class is built from a model, as guides are."""
    arguments = list(inspect.signature(kind.__init__).parameters)[1:2]  # type: ignore[misc]
    return arguments == ["model"] or kind.__name__.lower().endswith("guide")


def _samples(kind: type) -> bool:
    """Whether a method of a class has a ``sample`` statement."""
    parents = (parent for parent in kind.__mro__ if parent not in (nn.Module, PyroModule, object))
    return any("sample" in _names(function) for parent in parents for function in _functions(parent))


def _functions(kind: type) -> Iterator[Callable[..., Any]]:
    for value in vars(kind).values():
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, FunctionType):
            yield value


def _names(function: Callable[..., Any]) -> set[str]:
    """The names that a function's code, and the functions inside it, refer to."""
    codes, names = [function.__code__], set[str]()
    while codes:
        code = codes.pop()
        names |= {*code.co_names, *code.co_freevars}
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return names

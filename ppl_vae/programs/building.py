"""Models and guides built from their definitions, as modules that hold all they learn."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ppl_vae.data.inputs import Batch, examples
from ppl_vae.nn.modes import owners
from ppl_vae.plugins.user_files import run_afresh
from ppl_vae.programs.autoguides import refuse_autoguide
from ppl_vae.programs.explain import explain
from ppl_vae.programs.forms import choose, has_state, is_pair
from ppl_vae.programs.loading import Definition
from ppl_vae.programs.owned import OwnedProgram, owned
from ppl_vae.programs.types import Program

__all__ = ["build_guide", "build_model"]

_origins: weakref.WeakKeyDictionary[nn.Module, ModuleType] = weakref.WeakKeyDictionary()
"""The file, as it was run for a model, of each model whose file makes networks: its guide shares them."""


def build_model(definition: Definition, options: Mapping[str, object], x: Batch, device: torch.device) -> nn.Module:
    """A model for some data, which holds all that it learns.

    Arguments:
        definition: The model; a file that makes networks as it is run is run afresh, so that they are drawn anew.
        options: Of its constructor.
        x: The training data.
        device: Where it will compute.

    Raises:
        ValueError: If it cannot be built, with the reason.
    """
    origin = _afresh(definition)
    target = _target(definition, origin)
    if definition.form != "program":
        target = _built(definition, target, (), {**options, **definition.facts(x)})
    if is_pair(type(target)):
        target = target.model
    model = _owned(target, x, device)
    if origin is not None:
        _origins[model] = origin
    return model


def build_guide(
    definition: Definition,
    model: nn.Module,
    options: Mapping[str, object],
    x: Batch,
    device: torch.device,
    count: int = 2,
) -> nn.Module:
    """A guide for a model, which holds all that it alone learns; arguments and errors are those of :func:`build_model`.

    A class is built from this count of the data.

    The guide of the model's own file or object is the one that shares its networks.
    """
    origin = _origins.get(model)
    if origin is None or Path(str(origin.__file__)) != definition.file.resolve():
        origin = _afresh(definition)
    target = _target(definition, origin)
    refuse_autoguide(target)
    if definition.form == "class":
        target = _built(definition, target, (model, examples(x, count)), options)
    elif definition.form == "pair":
        owner = model.owner if isinstance(model, OwnedProgram) else None
        target = owner if isinstance(owner, target) else _built(definition, target, (), definition.facts(x))
    if is_pair(type(target)):
        target = target.guide
    refuse_autoguide(target)
    return _owned(target, x, device, beside=model)


def _afresh(definition: Definition) -> ModuleType | None:
    """The file of a definition run again, if that makes networks or parameters."""
    if definition.shipped or definition.module is None:
        return None
    stateful = definition.form == "program" or has_state(definition.module)
    return run_afresh(definition.module) if stateful else None


def _target(definition: Definition, origin: ModuleType | None) -> Any:  # a class, a program or an object of methods
    if origin is None:
        return definition.target
    return choose(origin, definition.kind, definition.file, definition.item).value  # type: ignore[arg-type]


def _built(definition: Definition, target: Program, args: tuple[object, ...], options: Mapping[str, object]) -> Any:
    """An object of the user's class."""
    try:
        inspect.signature(target).bind(*args, **options)
    except TypeError as error:
        where = f"{definition.file}: " if definition.file.name else ""
        wanted = inspect.signature(target).parameters
        facts = [name for name in wanted if name.endswith(("_shape", "_classes")) and name not in options]
        remedy = ""
        if facts and definition.kind == "models":
            field = facts[0].rpartition("_")[0]
            remedy = (
                f"; {facts[0]} comes from a field {field!r} of the data, which have none: give one (an array called "
                f"{field!r} of an .npz, or a further argument), of integers if classes are counted"
            )
        raise ValueError(f"{where}{target.__name__} cannot be built: {error}{remedy}") from error
    try:
        return target(*args, **options)
    except Exception as error:
        given = [f"{name}={value!r}" for name, value in options.items() if not isinstance(value, torch.Tensor)]
        explain(error, f"{target.__name__} is built with {', '.join(given) or 'no options'}")
        raise


def _owned(program: object, x: Batch, device: torch.device, beside: nn.Module | None = None) -> nn.Module:
    if not callable(program):
        raise ValueError(
            f"{program!r} is neither a name nor a file, a function, a method, a module or the class of one"
        )
    for owner in owners((program,)):
        owner.to(device)
    # Networks of a function are wherever they were made, until they are found.
    return owned(program, x[:2], beside=beside).to(device)

"""Functions whose ``pyro.param`` statements were trained by a run, which keeps their values; Pyro's store does not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor

from ppl_vae.programs.memory import Memory

__all__ = ["check_untouched", "keep_apart", "kept_as_before"]

_KEPT, _OWN = Memory(), Memory()


def keep_apart(program: Callable[..., Any], statements: Iterable[tuple[str, Tensor]]) -> None:
    """Remembers that a run holds the parameters of a function or method.

    Those that the user had trained before, as by ``pyro.infer.SVI``, are Pyro's own, and keep their values there.

    Arguments:
        program: The function or method.
        statements: Names and initial values of its ``pyro.param`` statements.
    """
    now = dict(pyro.get_param_store().items())
    (held, method), (own, _) = _KEPT.of(program), _OWN.of(program)
    held[method], own[method] = {}, []
    for name, value in statements:
        if name in now and not _is_same(now[name].detach(), value):
            own[method].append(name)
        else:
            held[method][name] = value.detach().clone()


@contextmanager
def kept_as_before(*programs: object) -> Iterator[None]:
    """What :func:`keep_apart` remembers of functions and methods inside is forgotten afterwards, as of a trial."""
    entries = [(known, method) for p in programs if callable(p) for known, method in (_KEPT.of(p), _OWN.of(p))]
    before = [known.get(method) for known, method in entries]
    try:
        yield
    finally:
        for (known, method), value in zip(entries, before, strict=True):
            known.pop(method, None)
            if value is not None:
                known[method] = value


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.cpu(), other.cpu(), equal_nan=True)


def check_untouched(program: Callable[..., Any]) -> None:
    """Refuses a function that a run trained, where Pyro's parameter store has the values it had before, or none.

    A step of ``pyro.infer.SVI`` trains the function itself, and is let through; so is a function that was trained so
    before the run, with a warning.

    Raises:
        ValueError: If so, naming the parameter and the pair to give.
    """
    held, method = _KEPT.of(program)
    if method not in held or any(getattr(handler, "param_only", False) for handler in _PYRO_STACK):
        return
    store = pyro.get_param_store()
    for name, before in held[method].items():
        if _is_same(store[name].detach() if name in store else before, before):
            raise ValueError(
                f"pyro.param {name!r} of {getattr(program, '__name__', program)} was trained in a run, which keeps its "
                "value; here it would have the value it began with: give run.model and run.guide instead of the "
                "functions (load_run(folder, model, guide, data) opens the run again)"
            )
    known, _ = _OWN.of(program)
    for name in (name for name in known.get(method, ()) if name in store):
        warnings.warn(
            f"pyro.param {name!r} of {getattr(program, '__name__', program)} has the value of Pyro's parameter store, "
            "trained before the run; that of the run is in run.model and run.guide",
            stacklevel=2,
        )
        return

"""Functions whose ``pyro.param`` statements were trained by a run, which keeps their values; Pyro's store does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyro
import torch
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor

from ppl_vae.programs.memory import Memory

__all__ = ["check_untouched", "keep_apart"]

_KEPT = Memory()


def keep_apart(program: Callable[..., Any], statements: Iterable[tuple[str, Tensor]]) -> None:
    """Remembers that a run holds the parameters of a function or method.

    Arguments:
        program: The function or method.
        statements: Names and initial values of its ``pyro.param`` statements.
    """
    now = dict(pyro.get_param_store().items())
    held, method = _KEPT.of(program)
    held[method] = {name: now.get(name, value).detach().clone() for name, value in statements}


def check_untouched(program: Callable[..., Any]) -> None:
    """Refuses a function that a run trained, where Pyro's parameter store has the values it had before, or none.

    A step of ``pyro.infer.SVI`` trains the function itself, and is let through.

    Raises:
        ValueError: If so, naming the parameter and the pair to give.
    """
    held, method = _KEPT.of(program)
    if method not in held or any(getattr(handler, "param_only", False) for handler in _PYRO_STACK):
        return
    store = pyro.get_param_store()
    for name, before in held[method].items():
        now = store[name].detach() if name in store else before
        if now.shape == before.shape and torch.allclose(now.cpu(), before.cpu(), equal_nan=True):
            raise ValueError(
                f"pyro.param {name!r} of {getattr(program, '__name__', program)} was trained in a run, which keeps its "
                "value; here it would have the value it began with: give run.model and run.guide instead of the "
                "functions (load_run(folder, model, guide, data) opens the run again)"
            )

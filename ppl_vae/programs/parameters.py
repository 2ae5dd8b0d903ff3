"""Parameters of modules, kept apart from those of the same name in Pyro's parameter store."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger

from ppl_vae.nn.modes import owners

__all__ = ["LocalParameters", "adopt_parameters"]


class LocalParameters(Messenger):
    """Keeps the parameters of modules apart from those of the same name in the parameter store."""

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        initial = msg["args"][1] if len(msg["args"]) > 1 else None
        if not isinstance(initial, torch.nn.Parameter) or msg["value"] is not None:
            return
        initial.unconstrained = weakref.ref(initial)  # type: ignore[attr-defined]
        store, name = pyro.get_param_store(), msg["name"]
        if pyro.settings.get("module_local_params") or (name in store and store[name] is not initial):
            self._keep(msg, initial)

    def _keep(self, msg: dict[str, Any], initial: torch.nn.Parameter) -> None:
        initial.unconstrained = weakref.ref(initial)  # type: ignore[attr-defined]
        msg["value"] = initial
        # Pyro's SVI gathers parameters by name; a model and its guide may both have a layer called "net".
        msg["name"] = f"{msg['name']}@{id(initial)}"


_adopted: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()


def adopt_parameters(program: Callable[..., Any]) -> None:
    """Lets a module built before ``module_local_params`` was set keep its own parameters, as those built later do."""
    if not pyro.settings.get("module_local_params"):
        return
    for owner in owners((program,)):
        if owner in _adopted:
            continue
        for module in owner.modules():
            context = getattr(module, "_pyro_context", None)
            if context is not None and not hasattr(context, "param_state"):
                context.param_state = {"params": {}, "constraints": {}}
        _adopted.add(owner)

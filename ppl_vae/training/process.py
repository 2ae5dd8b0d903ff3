"""Settings of a process that trains and measures."""

from __future__ import annotations

import pyro
import torch

__all__ = ["prepare"]


def prepare() -> None:
    """Sets how this process computes; call it before the first parallel operation.

    Worker threads inherit it. Adam's moments of dead units decay into denormal numbers, on which a step takes up to a
    hundred times as long. Parameters of Pyro modules are those of the module, not of a store that all modules share.
    """
    torch.set_flush_denormal(True)
    pyro.settings.set(module_local_params=True)

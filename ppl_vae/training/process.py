"""Settings of a process that trains and measures."""

from __future__ import annotations

import numpy as np
import pyro
import torch

__all__ = ["flush_denormals", "prepare"]


def flush_denormals() -> None:
    """Makes denormal numbers 0 from here on; NumPy 1.26, asked for its limits later, would warn of that."""
    for kind in (np.float32, np.float64):
        np.finfo(kind)
    torch.set_flush_denormal(True)


def prepare() -> None:
    """Sets how this process computes; call it before the first parallel operation.

    Worker threads inherit it. Adam's moments of dead units decay into denormal numbers, on which a step takes up to a
    hundred times as long. Parameters of Pyro modules are those of the module, not of a store that all modules share.
    """
    flush_denormals()
    pyro.settings.set(module_local_params=True)

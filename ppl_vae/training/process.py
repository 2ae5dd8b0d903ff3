"""What a process that trains and measures is to have settled first."""

from __future__ import annotations

import pyro
import torch

__all__ = ["prepare"]


def prepare() -> None:
    """Settles how this process computes; to be called before its first parallel operation.

    Worker threads inherit it. Adam's moments of dead units decay into denormal numbers, on which a step takes up to a
    hundred times as long. Parameters of Pyro modules are those of the module, not of a store that all modules share.
    """
    torch.set_flush_denormal(True)
    pyro.settings.set(module_local_params=True)

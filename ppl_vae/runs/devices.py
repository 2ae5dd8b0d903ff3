"""Devices to compute on."""

from __future__ import annotations

from typing import Literal

import torch

__all__ = ["Device", "DeviceOption", "resolve_device"]

Device = Literal["cpu", "cuda", "mps"]

DeviceOption = Literal["auto", "cpu", "cuda", "mps"]
"""A device by name; ``"auto"`` is CUDA where available, else the CPU."""


def resolve_device(name: str) -> Device:
    """Returns the device of a name; ``"auto"`` is CUDA where available, else the CPU.

    Raises:
        ValueError: If this machine has no such device.

    Example:
        >>> resolve_device("cpu")
        'cpu'
    """
    present: dict[Device, bool] = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return "cuda" if present["cuda"] else "cpu"
    for device, is_present in present.items():
        if device == name and is_present:
            return device
    raise ValueError(f"this machine, or this build of torch, has no {name}; use --device cpu")

"""The machine that is measured, in what decides how fast it is."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

__all__ = ["machine", "title"]

UNITS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_fp16")
"""Flags of x86 processors that matter here; PyTorch takes other kernels with each of the first two."""


def machine() -> dict[str, Any]:
    """Processor, what PyTorch's kernels are chosen by, its cores for this process, versions, and a GPU if there is one.

    ``capability`` is PyTorch's, such as ``AVX2`` or ``AVX512``; ``avx512`` says whether the processor has that.
    """
    info = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in info.read_text().splitlines()] if info.exists() else []
    found = {name.strip(): value.strip() for name, _, value in lines}
    flags = found.get("flags", "").split()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": found.get("model name") or platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "avx512": "avx512f" in flags,
        "units": [unit for unit in UNITS if unit in flags],
        "cores": cores,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def title() -> str:
    """The same in a few words, such as ``2 cores, AVX512, amx_bf16``."""
    found = machine()
    capability = found["capability"] if found["avx512"] else f"{found['capability']}, without AVX512"
    matrix = [unit for unit in found["units"] if unit.startswith("amx")]
    return ", ".join([f"{found['cores']} cores", capability, *(matrix or ["without AMX"])])

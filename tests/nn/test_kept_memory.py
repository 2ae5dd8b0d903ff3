"""Memory that is freed stays in the process inside the context, and is given back at its end."""

import os
import platform
import sys

import pytest
import torch

from ppl_vae.nn import kept_memory
from ppl_vae.nn.kept_memory import keeping_memory

SIZE = 2**22
"""Numbers of a tensor of 16 MB."""


def faults() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library has these settings")
def test_memory_is_kept_inside_and_given_back_after():
    def step() -> None:
        held = [torch.ones(SIZE) for _ in range(6)]
        del held

    with keeping_memory():
        step()
        start = faults()
        for _ in range(3):
            step()
        inside = (faults() - start) / 3
        kept = resident()
    assert resident() < kept - 6 * 4 * SIZE / 2
    start = faults()
    step()
    after = faults() - start  # a step has 24,576 pages
    assert after > 12_000 and inside < after / 5


def test_other_platforms_change_nothing(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(kept_memory.ctypes, "CDLL", lambda name: pytest.fail("loaded"))
    with keeping_memory():
        assert torch.ones(3).sum() == 3

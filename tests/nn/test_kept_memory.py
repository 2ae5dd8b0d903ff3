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
        kept = resident()  # nothing is held any more
    assert resident() < kept - 6 * 4 * SIZE / 2


def test_other_platforms_change_nothing(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(kept_memory.ctypes, "CDLL", lambda name: pytest.fail("loaded"))
    with keeping_memory():
        assert torch.ones(3).sum() == 3

"""Operations of products are counted as PyTorch's own counter does, which imports its compiler."""

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ppl_vae.programs.flops import Flops

PRODUCTS = {
    "linear": lambda: torch.nn.Linear(5, 3)(torch.ones(7, 5)),
    "batch": lambda: torch.ones(4, 2, 3) @ torch.ones(4, 3, 5),
    "convolution": lambda: torch.nn.Conv2d(2, 4, 3, stride=2)(torch.ones(3, 2, 9, 9)).sum().backward(),
    "none": lambda: torch.ones(3) + 1,
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_flops_are_those_of_torch(name):
    with Flops() as ours:
        PRODUCTS[name]()
    with FlopCounterMode(display=False) as theirs:
        PRODUCTS[name]()
    assert ours.flops == theirs.get_total_flops()
    assert (ours.flops > 0) == (name != "none")


def test_counting_does_not_import_the_compiler():
    code = """
import sys, torch
from ppl_vae.programs.flops import Flops
with Flops():
    torch.ones(2, 2) @ torch.ones(2, 2)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

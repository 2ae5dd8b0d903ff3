"""Random states that looking at a program leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["kept_random_state"]


@contextmanager
def kept_random_state(seed: int | None = None) -> Iterator[None]:
    """What is drawn inside does not change what is drawn after.

    Arguments:
        seed: Where the draws inside start; None goes on from where they are.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        if seed is not None:
            torch.manual_seed(seed)
        yield

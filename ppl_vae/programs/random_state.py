"""Random states: kept by those who look at a program, saved with a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["fork_random_state", "positions", "random_states", "subsample", "set_random_states"]


def random_states() -> dict[str, Tensor]:
    """The states of the generators of this machine's devices, by device."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_states(states: dict[str, Tensor]) -> None:
    """Puts back what :func:`random_states` gave; states of devices that are not there are passed over."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


@contextmanager
def fork_random_state(seed: int | None = None) -> Iterator[None]:
    """What is drawn inside does not change what is drawn after.

    Arguments:
        seed: Where the draws inside start; None goes on from where they are.
    """
    before = random_states()
    try:
        if seed is not None:
            torch.manual_seed(seed)
        yield
    finally:
        set_random_states(before)


def positions(rows: list[int], sample: Tensor | None) -> list[int]:
    """Positions in the whole of rows of a sample; None is the whole.

    Example:
        >>> positions([2, 0], torch.tensor([4, 7, 9]))
        [9, 4]
    """
    return rows if sample is None else sample[rows].tolist()


def subsample(whole: int, count: int) -> Tensor | None:
    """Positions of a random sample of so many data, the same every time, in ascending order; None is all of them."""
    if not 0 < count < whole:
        return None
    return torch.randperm(whole, generator=torch.Generator().manual_seed(count))[:count].sort().values

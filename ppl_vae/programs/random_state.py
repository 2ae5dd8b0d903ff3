"""Random states, which inspecting a program leaves unchanged and checkpoints hold, and reproducible subsamples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["fork_random_state", "positions", "random_states", "subsample", "set_random_states"]


def random_states() -> dict[str, Tensor]:
    """States of the random generators of this machine's devices, by device."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_states(states: dict[str, Tensor]) -> None:
    """Restores :func:`random_states`; those of devices that this machine lacks are ignored."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


@contextmanager
def fork_random_state(seed: int | None = None) -> Iterator[None]:
    """Runs a block of code and restores the random state after it.

    Arguments:
        seed: Seed of the block; None continues from the current state.
    """
    before = random_states()
    try:
        if seed is not None:
            _seed(seed)
        yield
    finally:
        set_random_states(before)


def _seed(seed: int) -> None:
    """Seeds the generators of :func:`random_states`.

    ``torch.manual_seed`` also keeps a stack trace for each device that is not in use, which takes longer than a small
    measurement.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def positions(rows: list[int], sample: Tensor | None) -> list[int]:
    """Positions in all data of rows of a subsample; None is all data.

    Example:
        >>> positions([2, 0], torch.tensor([4, 7, 9]))
        [9, 4]
    """
    return rows if sample is None else sample[rows].tolist()


def subsample(whole: int, count: int) -> Tensor | None:
    """Ascending positions of a random subsample of the data, the same every time; None for all data."""
    if not 0 < count < whole:
        return None
    return torch.randperm(whole, generator=torch.Generator().manual_seed(count))[:count].sort().values

"""The order of the data in an epoch: at random; of data that stay on the disk, by blocks."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ppl_vae.data.inputs import Batch, concatenate
from ppl_vae.data.packed.mapped import datum_bytes, is_mapped

__all__ = ["batches", "window_blocks"]

BLOCK = 256
"""Neighbouring data that are read together."""

BLOCKS = 256
"""Most blocks that are held in memory at once."""

BYTES = 2**26
"""Most bytes of their numbers."""


def batches(train: Batch, size: int, seed: int) -> Iterator[Batch]:
    """All data in batches of one size, the last one smaller, each datum once, in an order drawn from a seed.

    Of data in memory every order has the same probability. Data that stay on the disk are read in blocks of 256
    neighbours. The order of the blocks is uniform; so many of them as memory should hold (:func:`window_blocks`) are a
    window, and the order of the data within a window is uniform. A batch is thus a random sample of so many random
    blocks: with correlation r between the data of a block, the mean of a batch of b has about 1 + (b - 1) r / blocks
    times the variance that it has under a uniform order (cluster sampling; Cochran 1977, section 9A.1). Data that fit
    into one window have the same order as in memory.

    Arguments:
        train: The data.
        size: Size of a batch.
        seed: Seed of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    held = window_blocks(train) * BLOCK
    if not is_mapped(train) or len(train) <= held:
        whole = train[:] if is_mapped(train) else train
        order = torch.randperm(len(train), generator=generator)
        for start in range(0, len(train), size):
            yield whole[order[start : start + size].to(train.device)]
        return
    blocks = torch.randperm(-(-len(train) // BLOCK), generator=generator)
    rest: Batch | None = None
    for first in range(0, len(blocks), held // BLOCK):
        rows = (blocks[first : first + held // BLOCK].sort().values[:, None] * BLOCK + torch.arange(BLOCK)).flatten()
        window = train[rows[rows < len(train)]]
        window = window[torch.randperm(len(window), generator=generator).to(window.device)]
        window = window if rest is None else concatenate([rest, window])
        end = first + held // BLOCK >= len(blocks)
        full = len(window) if end else len(window) // size * size
        for start in range(0, full, size):
            yield window[start : min(start + size, full)]
        rest = window[full:]


def window_blocks(train: Batch) -> int:
    """Number of blocks of data on the disk that are held in memory at once: 256, or fewer that take 64 MB."""
    return max(1, min(BLOCKS, int(BYTES // (BLOCK * max(1.0, datum_bytes(train))))))

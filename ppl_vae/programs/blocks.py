"""Sizes of blocks that keep intermediate tensors within memory."""

from __future__ import annotations

from ppl_vae.data.inputs import Batch, data_width, dense_width, documents

__all__ = ["data_block", "rows_at_once"]


WIDTH = 2**10
"""Fewest numbers that a decoder is assumed to hold per sample."""

CELLS = 2**24
"""Largest number of (sample, datum, observed number) cells computed at once."""

CACHED = 2**21
"""The same on a processor, where a layer of so many numbers is not written to memory between operations (8 MB)."""


def rows_at_once(x: Batch) -> int:
    """Largest number of latents for which a decoder runs at once, if it holds tensors of an observation's size."""
    rows = CELLS // max(data_width(x), WIDTH)
    if x.device.type == "cpu":
        rows = min(rows, CACHED // max(dense_width(x), WIDTH))
    return max(1, rows)


def data_block(x: Batch, draws: int = 1) -> int:
    """Number of data in a block: thousands of documents, which cost their distinct words only; fewer tensors."""
    most = 2**14 if documents(x) is not None else max(1, min(2**10, 2**18 // data_width(x)))
    return most if draws <= 1000 else max(1, most * 1000 // draws)

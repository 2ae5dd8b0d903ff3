"""Sizes of blocks that keep intermediate tensors within memory."""

from __future__ import annotations

from collections.abc import Iterator

from ppl_vae.data.inputs import Batch, data_width, documents
from ppl_vae.programs.log_weight import Terms, log_terms
from ppl_vae.programs.types import Program, Progress

__all__ = ["data_block", "in_blocks", "rows_at_once"]


WIDTH = 2**10
"""Fewest numbers that a decoder is assumed to hold per sample."""

CELLS = 2**24
"""Largest number of (sample, datum, observed number) cells computed at once."""


def in_blocks(
    model: Program, guide: Program, x: Batch, draws: int, progress: Progress | None = None
) -> Iterator[tuple[slice, Iterator[Terms]]]:
    """The terms of the log-weights of independent samples, a block of data at a time.

    Yields:
        The position of each block of data, and an iterator over the terms of its samples, a block of samples at a time.
    """
    rows = rows_at_once(x)
    batch = max(1, min(len(x), rows // min(draws, 8)))

    def drawn(part: Batch) -> Iterator[Terms]:
        step = max(1, rows // len(part))
        for done in range(0, draws, step):
            terms = log_terms(model, guide, part, min(step, draws - done))
            if progress:
                progress(terms.likelihood.numel())
            yield terms

    for start in range(0, len(x), batch):
        place = slice(start, min(start + batch, len(x)))
        yield place, drawn(x[place])


def rows_at_once(x: Batch) -> int:
    """Largest number of latents for which a decoder runs at once, if it holds tensors of an observation's size."""
    return max(1, CELLS // max(data_width(x), WIDTH))


def data_block(x: Batch, draws: int = 1) -> int:
    """Number of data in a block: thousands of documents, which cost their distinct words only; fewer tensors."""
    most = 2**14 if documents(x) is not None else max(1, min(2**10, 2**18 // data_width(x)))
    return most if draws <= 1000 else max(1, most * 1000 // draws)

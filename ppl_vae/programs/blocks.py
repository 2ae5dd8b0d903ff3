"""Block sizes that keep intermediate tensors within memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ppl_vae.data.counts import PackedCounts
from ppl_vae.programs.log_weight import Terms, log_terms
from ppl_vae.programs.types import Program, Progress

__all__ = ["data_block", "data_width", "in_blocks", "rows_at_once"]


def data_width(x: Any) -> int:
    """Numbers, or words, of one datum."""
    return x.vocabulary if isinstance(x, PackedCounts) else x[0].numel()


WIDTH = 2**10
"""Numbers that a decoder is taken to hold a code, however few are observed."""

CELLS = 2**24
"""Largest number of (draw, datum, observed number) cells worked on at once."""


def in_blocks(
    model: Program, guide: Program, x: Any, draws: int, progress: Progress | None = None
) -> Iterator[tuple[slice, Iterator[Terms]]]:
    """The terms of so many draws a datum, a block at a time.

    Yields:
        For one block of data after the other its place, and the terms of some of its draws after the other.
    """
    rows = rows_at_once(x)
    batch = max(1, min(len(x), rows // min(draws, 8)))

    def drawn(part: Any) -> Iterator[Terms]:
        step = max(1, rows // len(part))
        for done in range(0, draws, step):
            terms = log_terms(model, guide, part, min(step, draws - done))
            if progress:
                progress(terms.likelihood.numel())
            yield terms

    for start in range(0, len(x), batch):
        place = slice(start, min(start + batch, len(x)))
        yield place, drawn(x[place])


def rows_at_once(x: Any) -> int:
    """For how many codes of a datum a decoder may be run at once, whatever it forms of an observation's size."""
    width = x.vocabulary if isinstance(x, PackedCounts) else x[0].numel()
    return max(1, CELLS // max(width, WIDTH))


def data_block(x: Any, draws: int = 1) -> int:
    """Documents cost their distinct words, so one block takes thousands; tensors cost all their numbers."""
    most = 2**14 if isinstance(x, PackedCounts) else max(1, min(2**10, 2**18 // x[0].numel()))
    return most if draws <= 1000 else max(1, most * 1000 // draws)

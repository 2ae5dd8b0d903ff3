"""Samples of a guide and the terms of their log-weights, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator

from ppl_vae.data.inputs import Batch
from ppl_vae.programs.blocks import rows_at_once
from ppl_vae.programs.log_weight import Terms, terms_of
from ppl_vae.programs.repeated import RepeatedGuide
from ppl_vae.programs.types import Program, Progress

__all__ = ["in_blocks"]


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
        step, repeated = max(1, rows // len(part)), RepeatedGuide(guide, part)
        for done in range(0, draws, step):
            count = min(step, draws - done)
            terms = terms_of(model, part, repeated.draw(count))
            if progress:
                progress(terms.likelihood.numel())
            yield terms

    for start in range(0, len(x), batch):
        place = slice(start, min(start + batch, len(x)))
        yield place, drawn(x[place])

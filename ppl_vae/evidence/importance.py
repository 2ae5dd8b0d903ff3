"""Bound and evidence from importance weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ppl_vae.batches import PackedCounts
from ppl_vae.evidence.pareto import k_hat
from ppl_vae.evidence.results import Estimate, Measurement
from ppl_vae.log_weight import Terms, log_terms
from ppl_vae.modes import evaluating

__all__ = ["from_log_weights", "importance", "in_blocks", "log_weights", "rows_at_once", "sampled_elbo"]

Program = Callable[..., Any]
Progress = Callable[[int], None]

CELLS = 2**24
"""Largest number of (draw, datum, observed number) cells worked on at once."""


def importance(model: Program, guide: Program, x: Any, draws: int, progress: Progress | None = None) -> Measurement:
    """ELBO and importance-weighted evidence of each datum from so many independent draws.

    Raises:
        ValueError: For fewer than two draws, from which no error can be estimated.
    """
    if draws < 2:
        raise ValueError(f"importance weights need at least 2 draws a datum, got {draws}; raise the draws")
    parts = [from_log_weights(w, distinct) for w, distinct in log_weights(model, guide, x, draws, progress)]
    joined = Measurement.join(parts)
    shape = joined.evidence.k_hat
    if shape is not None and shape.isneginf().all():
        words = "constant importance weights: the guide is the posterior"
        exact = Estimate(joined.elbo.pointwise, words, "exact")
        return Measurement(exact, exact, Estimate(torch.zeros_like(joined.elbo.pointwise), words, "exact"))
    return joined


def sampled_elbo(model: Program, guide: Program, x: Any, draws: int = 1) -> Tensor:
    """The ELBO of each datum from so many draws, ``(data,)``, in nats: quick, for watching a training."""
    with evaluating(model, guide):
        return torch.cat([weights.mean(0) for weights, _ in log_weights(model, guide, x, draws)])


def log_weights(
    model: Program, guide: Program, x: Any, draws: int, progress: Progress | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Log-weights of all draws for one block of data after the other.

    Yields:
        Log-weights ``(draws, block)`` in float64, and whether a datum's draws are not all the same, ``(block,)``.
    """
    for _, parts in in_blocks(model, guide, x, draws, progress):
        found, first, distinct = [], None, None
        for terms in parts:
            weights, values = terms.weight, terms.values
            # Sites without a number a datum (none, under the contract) would fail here rather than mislead.
            first = {name: value[0] for name, value in values.items()} if first is None else first
            differ = [(v != first[n]).reshape(*v.shape[:2], -1).any(-1).any(0) for n, v in values.items()]
            here = torch.stack(differ).any(0)
            distinct = here if distinct is None else distinct | here
            found.append(weights)
        together = torch.cat(found)
        assert distinct is not None
        yield (together if together.device.type == "mps" else together.double()), distinct


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
    return max(1, CELLS // (x.vocabulary if isinstance(x, PackedCounts) else x[0].numel()))


def from_log_weights(weights: Tensor, distinct: Tensor) -> Measurement:
    """ELBO, importance-weighted evidence and gap from log-weights.

    Standard errors are those of the mean over draws, for the evidence and the gap by the delta method. Weights that
    are constant over different draws are those of the posterior itself; where all draws are the same, nothing can be
    said.

    Arguments:
        weights: ``(draws, data)``, in nats.
        distinct: Whether a datum's draws are not all the same, ``(data,)``.
    """
    draws = len(weights)
    high = weights.amax(0).clamp(min=torch.finfo(weights.dtype).min)
    ratio = (weights - high).exp()
    relative = ratio / ratio.mean(0)
    elbo, evidence = weights.mean(0), high + ratio.mean(0).log()
    # The same draws give both, so the error of the gap is that of the difference draw by draw.
    errors = [value.std(0) / draws**0.5 for value in (weights, relative, relative - weights)]
    constant = weights.amax(0) - weights.amin(0) <= 1e-9 * high.abs().clamp(min=1)
    shape = torch.where(constant, torch.where(distinct, -torch.inf, torch.nan), k_hat(weights))
    method = f"importance, {draws} draws"
    return Measurement(
        Estimate(elbo, f"{draws} draws", "unbiased", draws, errors[0]),
        Estimate(evidence, method, "lower", draws, errors[1], shape),
        Estimate(evidence - elbo, method, "lower", draws, errors[2]),
    )

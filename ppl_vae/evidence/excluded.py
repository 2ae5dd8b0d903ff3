"""Evidence of programs that give some values of their latents the probability 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.impossible import impossible_values
from ppl_vae.programs.types import Progress

__all__ = ["TOLERANCE", "without_excluded"]

TOLERANCE = 1e-4
"""Nats by which excluded values may change the evidence of a datum."""

ERRORS = 4
"""Standard errors by which two samples may differ besides."""


def without_excluded(measure: Callable[[Progress], Evidence], progress: Progress, first: int) -> Evidence:
    """A measurement, made a second time without the values of latents that the program excludes, if it scores any.

    PyTorch gives a value whose probability is 0 a probability of 1.2e-7. Where that changes the evidence, the number is
    not that of the program as it is written; where it changes the ELBO alone, a note says so.

    Arguments:
        measure: The measurement.
        progress: Called with the number of cells done.
        first: Number of the first datum.

    Raises:
        ValueError: If the evidence of a datum depends on excluded values, naming the sites and the datum.
    """
    random = torch.get_rng_state()
    with impossible_values() as found:
        result = measure(progress)
    if not found.sites:
        return result
    torch.set_rng_state(random)
    with impossible_values(strict=True):
        strict = measure(lambda cells: None)
    sites = ", ".join(map(repr, sorted(found.sites)))
    one, other = result.evidence.pointwise, strict.evidence.pointwise
    errors = [e.pointwise_se for e in (result.evidence, strict.evidence) if e.pointwise_se is not None]
    noise = sum((error.nan_to_num().square() for error in errors), torch.zeros_like(one)).sqrt()
    differs = ~((one - other).abs() <= TOLERANCE + ERRORS * noise) & (one != other)
    if bool(differs.any()):
        datum = int(differs.nonzero()[0, 0])
        raise ValueError(
            f"site {sites} gives some values a probability of 0, of which PyTorch makes 1.2e-7 where they are given as "
            f"probs, and the evidence of datum {first + datum} depends on it: {one[datum]:.3f} nats, and "
            f"{other[datum]:.3f} if the values are impossible; say which is meant: logits of minus infinity exclude a "
            "value (bits that are certain are no latents), and a small probability does not"
        )
    if bool(((result.elbo.pointwise - strict.elbo.pointwise).abs() <= TOLERANCE).all()):
        return result
    note = (
        f"site {sites} gives some values a probability of 0, of which PyTorch makes 1.2e-7; the guide takes them at "
        "times, and the ELBO counts them so: strictly it is minus infinity"
    )
    return replace(result, elbo=replace(result.elbo, notes=(*result.elbo.notes, note)))

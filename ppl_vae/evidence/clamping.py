"""Evidence of programs that give some values of their latents a probability below 1.2e-7, perhaps 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf

import torch

from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.clamped import watching_clamps
from ppl_vae.programs.random_state import random_states, set_random_states
from ppl_vae.programs.types import Progress

__all__ = ["TOLERANCE", "without_clamping"]

TOLERANCE = 1e-4
"""Nats by which rounded probabilities may change the evidence of a datum."""

ERRORS = 4
"""Standard errors by which two samples may differ besides."""


def without_clamping(measure: Callable[[Progress], Evidence], progress: Progress, first: int) -> Evidence:
    """A measurement, made a second time without PyTorch's rounding of probabilities, if that rounds any.

    PyTorch gives a value of a latent whose probability is smaller, perhaps 0, a probability of 1.2e-7. Where that
    changes the evidence, the number is not that of the program as it is written; where it changes the ELBO alone, a
    note says so.

    Arguments:
        measure: The measurement.
        progress: Called with the number of cells done.
        first: Number of the first datum.

    Raises:
        ValueError: If the evidence of a datum depends on the rounding, naming the sites and the datum.
    """
    random = random_states()
    with watching_clamps() as found:
        result = measure(progress)
    if not found.sites:
        return result
    set_random_states(random)
    with watching_clamps(strict=True):
        strict = measure(lambda cells: None)
    sites = ", ".join(map(repr, sorted(found.sites)))
    one, other = result.evidence.pointwise, strict.evidence.pointwise
    errors = [e.pointwise_se for e in (result.evidence, strict.evidence) if e.pointwise_se is not None]
    noise = sum((error.nan_to_num().square() for error in errors), torch.zeros_like(one)).sqrt()
    differs = ~((one - other).abs() <= TOLERANCE + ERRORS * noise) & (one != other)
    if bool(differs.any()):
        datum = int(differs.nonzero()[0, 0])
        raise ValueError(
            f"site {sites} gives some values a probability of 0, or one below 1.2e-7, of which PyTorch makes 1.2e-7 "
            f"where they are given as probs, and the evidence of datum {first + datum} depends on it: {one[datum]:.3f} "
            f"nats, and {other[datum]:.3f} without that; give logits, which are taken as they are: minus infinity "
            "excludes a value (bits that are certain are no latents)"
        )
    if bool(((result.elbo.pointwise - strict.elbo.pointwise).abs() <= TOLERANCE).all()):
        return result
    mean = "minus infinity" if strict.elbo.mean == -inf else f"{strict.elbo.mean:.3f}"
    note = (
        f"site {sites} gives some values a probability of 0, or one below 1.2e-7, of which PyTorch makes 1.2e-7; the "
        f"guide takes them at times, and the ELBO counts them so: strictly it is {mean}"
    )
    return replace(result, elbo=replace(result.elbo, notes=(*result.elbo.notes, note)))

"""Results of a pair as it is written: without scales, and not of probabilities that PyTorch rounds up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.clamping import differing, note_raised, of_latents, of_observed
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Result
from ppl_vae.programs.clamped import Role, watching_clamps
from ppl_vae.programs.densities import Site, scaled_sites
from ppl_vae.programs.handlers import run
from ppl_vae.programs.prepared import prepared
from ppl_vae.programs.random_state import fork_random_state, random_states, set_random_states
from ppl_vae.programs.types import Program, Progress

__all__ = ["as_written", "noted"]

R = TypeVar("R", bound=Result)

Differs = tuple[str, int, float, float]
"""A number of two results that differs: its name, its place, and both values."""


def as_written(
    what: str,
    model: Program,
    guide: Program,
    x: Batch,
    measure: Callable[[Progress], R],
    progress: Progress | None = None,
    first: int = 0,
) -> R:
    """A result of a prepared pair, measured a second time without rounding if PyTorch rounds probabilities in it.

    :func:`~ppl_vae.evidence.clamping.without_clamping` is the same for evidence, whose ELBO may depend on it.

    Arguments:
        what: What is measured, in words.
        model: The model.
        guide: Its guide.
        x: All data.
        measure: The measurement.
        progress: Called with the number of cells done.
        first: Place of the first datum among all.

    Raises:
        ValueError: As :func:`~ppl_vae.programs.prepared.prepared`, or if a number depends on the rounding of
            probabilities of latents, naming the sites. That of observed values is noted.
    """
    with prepared(model, guide, x, what):
        random = random_states()
        with watching_clamps() as found:
            result = measure(progress or _silent)
        after = random_states()
        roles: tuple[tuple[Role, set[str]], ...] = (("latent", found.sites), ("observed", found.observed))
        for role, names in roles:
            if names:
                set_random_states(random)
                result = _settled(what, result, measure, role, ", ".join(map(repr, sorted(names))), first)
        set_random_states(after)
        with fork_random_state():
            note = _scales_taken_off(run(model, (x[:1],), {}, draws=1))
        return result if note is None else _noting(result, note)


def noted(estimates: Mapping[str, Estimate], sites: Mapping[str, Site]) -> dict[str, Estimate]:
    """Estimates of all data, with notes on rounded probabilities of observed values and on scales that are taken off.

    Arguments:
        estimates: The estimates by name.
        sites: The sites of a run of the model.
    """
    result, note = note_raised(estimates, sites), _scales_taken_off(sites)
    return {name: replace(e, notes=(*e.notes, *([note] if note else []))) for name, e in result.items()}


def _silent(cells: int) -> None:
    """Tells nobody of progress."""


def _scales_taken_off(sites: Mapping[str, Site]) -> str | None:
    """A note on the sites of a model that are measured without their scale; None if there are none."""
    if scaled := scaled_sites(sites):
        return (
            f"the log-density of {', '.join(scaled)} is scaled in the model (poutine.scale, or a plate of "
            "subsamples); it is measured without the scale"
        )
    return None


def _settled(what: str, result: R, measure: Callable[[Progress], R], role: Role, sites: str, first: int) -> R:
    """The result, noted or refused where it depends on the rounding of probabilities of these sites."""
    try:
        with watching_clamps(strict=role):
            difference = _difference(result.pointwise(), measure(_silent).pointwise())
        if difference is None:
            return result
        name, datum, one, other = difference
        described = ": ".join(name.rsplit(".", 1)).replace("_", " ")
        values = f"{described} of datum {first + datum} is {one:.6g}, and {other:.6g} without that"
    except ValueError as error:
        values = f"without that, {error}"
    if role == "latent":
        raise ValueError(of_latents(sites, what, values))
    return _noting(result, of_observed(sites, what, values))


def _noting(result: R, note: str) -> R:
    return replace(result, cautions=(*result.cautions, note))


def _difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Differs | None:
    """The first number by which two results differ beyond their errors; None if there is none."""
    for name, value in one.items():
        if name.endswith(("_se", "_k_hat")) or name not in other:
            continue
        first, second = value.double(), other[name].double()
        errors = (each.get(f"{name}_se", torch.zeros(())).double().nan_to_num() for each in (one, other))
        noise = sum((error.square() for error in errors), torch.zeros(())).sqrt()
        differs = differing(first, second, noise) & ~(first.isnan() & second.isnan())
        if bool(differs.any()):
            place = int(differs.nonzero()[0, 0]) if differs.ndim else 0
            shown = [(each.flatten(1).sum(1) if each.ndim > 1 else each)[place].item() for each in (first, second)]
            return name, place, shown[0], shown[1]
    return None

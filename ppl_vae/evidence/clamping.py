"""Evidence of programs that give some values a probability below 1.2e-7, perhaps 0, which PyTorch rounds up to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.clamped import Clamps, Role, given_probs, note_clamped, watching_clamps
from ppl_vae.programs.densities import Site
from ppl_vae.programs.handlers import latents, observations, run
from ppl_vae.programs.random_state import fork_random_state, random_states, set_random_states
from ppl_vae.programs.types import Program, Progress

__all__ = [
    "TOLERANCE",
    "differing",
    "early_notes",
    "note_raised",
    "of_latents",
    "of_observed",
    "settled",
    "without_clamping",
]

TOLERANCE = 1e-4
"""Nats by which rounded probabilities may change the evidence of a datum."""

ERRORS = 4
"""Standard errors by which two samples may differ besides."""


def without_clamping(measure: Callable[[Progress], Evidence], progress: Progress, first: int) -> Evidence:
    """A measurement, made a second time without PyTorch's rounding of probabilities, if that rounds any.

    PyTorch gives a value whose probability is smaller, perhaps 0, a probability of 1.2e-7, if it was given as
    ``probs``. Where that changes the evidence through a latent, the number is not that of the program as it is written;
    where it changes the ELBO alone, a note says so. Observed values are counted as PyTorch has them, which is what
    training maximises, and what that adds is kept beside the numbers (:func:`note_raised`).

    Arguments:
        measure: The measurement.
        progress: Called with the number of cells done.
        first: Number of the first datum.

    Raises:
        ValueError: If the evidence of a datum depends on the rounding of a latent, naming the sites and the datum.
    """
    random = random_states()

    def again() -> Evidence:
        set_random_states(random)
        return measure(lambda cells: None)

    with watching_clamps() as found:
        result = measure(progress)
    return settled(found, result, again, first)


def settled(found: Clamps, result: Evidence, again: Callable[[], Evidence], first: int) -> Evidence:
    """What :func:`without_clamping` makes of a measurement in which such probabilities were found.

    Arguments:
        found: What was found during the measurement.
        result: Its result.
        again: Makes it again, with the same draws.
        first: Number of the first datum.
    """

    def strictly(role: Role) -> Evidence:
        with watching_clamps(strict=role):
            return again()

    if found.sites:
        result = _refused_or_noted(", ".join(map(repr, sorted(found.sites))), result, strictly("latent"), first)
    if found.observed:
        strict = strictly("observed")
        evidence, elbo = _raised(result.evidence, strict.evidence), _raised(result.elbo, strict.elbo)
        result = replace(result, evidence=evidence, elbo=elbo)
    return result


def early_notes(model: Program, x: Batch) -> tuple[str, ...]:
    """What is known before a training of latents whose evidence may be refused after it.

    Arguments:
        model: The model.
        x: A few data.
    """
    with evaluating(model), fork_random_state(), torch.no_grad(), watching_clamps() as found:
        for name, site in latents(run(model, (x,), {}, draws=1)).items():
            note_clamped(name, site["fn"])
    if not found.sites:
        return ()
    sites = ", ".join(map(repr, sorted(found.sites)))
    return (
        f"site {sites} gives some values a probability of 0, or one below 1.2e-7, as probs, of which PyTorch makes "
        "1.2e-7: where the evidence depends on them it is refused after the training; give logits, of which minus "
        "infinity excludes a value",
    )


def note_raised(estimates: Mapping[str, Estimate], sites: Mapping[str, Site]) -> dict[str, Estimate]:
    """The estimates of all data, with a note on those that rounding of the probabilities of observed values raises.

    Arguments:
        estimates: The estimates by name.
        sites: The sites of a run of the model.
    """
    names = ", ".join(map(repr, given_probs(observations(sites))))
    return {name: _noted(each, name, names) for name, each in estimates.items()}


def _noted(estimate: Estimate, name: str, sites: str) -> Estimate:
    raised = estimate.raised
    if raised is None:
        return estimate
    estimate = replace(estimate, raised=None)
    impossible, count = int(raised.isinf().sum()), int((raised > 0).sum())
    if not count:
        return estimate
    most = raised[raised.isfinite()].max().item() if impossible < count else 0.0
    changes = [f"by up to {most:.3g} nats"] if most else []
    changes += [f"{impossible} of which are then impossible"] if impossible else []
    change = f"without that it is lower for {count} of {len(raised)} data, {', '.join(changes)}"
    return replace(estimate, notes=(*estimate.notes, of_observed(sites, f"the {name}", change)))


def of_observed(sites: str, what: str, change: str) -> str:
    """A note on a number that counts observed values as PyTorch rounds their probabilities."""
    return (
        f"site {sites} is given as probs, of which PyTorch takes those below 1.2e-7, perhaps 0, as 1.2e-7, and so does "
        f"{what}: {change}; give logits, which are not rounded"
    )


def of_latents(sites: str, what: str, change: str) -> str:
    """Why a number that depends on the rounding of probabilities of latents is refused."""
    return (
        f"site {sites} gives some values a probability of 0, or one below 1.2e-7, of which PyTorch makes 1.2e-7 where "
        f"they are given as probs, and {what} depends on it: {change}; give logits, which are taken as they are: minus "
        "infinity excludes a value (bits that are certain are no latents)"
    )


def differing(one: Tensor, other: Tensor, noise: Tensor) -> Tensor:
    """Where two numbers differ by more than :data:`TOLERANCE` and the standard error of their difference explain."""
    return ~((one - other).abs() <= TOLERANCE + ERRORS * noise) & (one != other)


def _raised(rounded: Estimate, strict: Estimate) -> Estimate:
    """An estimate with the nats by which rounding raises it, beyond its error."""
    raised = (rounded.pointwise - strict.pointwise).nan_to_num(0.0, posinf=inf)
    is_raised = raised > TOLERANCE + ERRORS * _noise(rounded, strict)
    return replace(rounded, raised=raised.where(is_raised, 0.0)) if bool(is_raised.any()) else rounded


def _noise(*estimates: Estimate) -> Tensor:
    """The standard error of the difference of two estimates of each datum."""
    errors = [each.pointwise_se for each in estimates if each.pointwise_se is not None]
    squares = (error.nan_to_num().square() for error in errors)
    return sum(squares, torch.zeros_like(estimates[0].pointwise)).sqrt()


def _refused_or_noted(sites: str, result: Evidence, strict: Evidence, first: int) -> Evidence:
    """The result, with a note where its ELBO depends on the rounding of latents.

    Raises:
        ValueError: If its evidence does.
    """
    one, other = result.evidence.pointwise, strict.evidence.pointwise
    noise = _noise(result.evidence, strict.evidence)
    differs = differing(one, other, noise)
    if bool(differs.any()):
        datum = int(differs.nonzero()[0, 0])
        change = f"{one[datum]:.3f} nats, and {other[datum]:.3f} without that"
        raise ValueError(of_latents(sites, f"the evidence of datum {first + datum}", change))
    if bool(((result.elbo.pointwise - strict.elbo.pointwise).abs() <= TOLERANCE).all()):
        return result
    mean = "minus infinity" if strict.elbo.mean == -inf else f"{strict.elbo.mean:.3f}"
    note = (
        f"site {sites} gives some values a probability of 0, or one below 1.2e-7, of which PyTorch makes 1.2e-7; the "
        f"guide takes them at times, and the ELBO counts them so: strictly it is {mean}"
    )
    return replace(result, elbo=replace(result.elbo, notes=(*result.elbo.notes, note)))

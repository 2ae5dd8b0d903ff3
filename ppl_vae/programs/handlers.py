"""Runs of a Pyro program for many samples at once: its sites and their log-densities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.util import is_validation_enabled, scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions import exponential_family
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.autoguides import without_autoguide
from ppl_vae.programs.canonical import DRAWS, Layout
from ppl_vae.programs.clamped import unclamped
from ppl_vae.programs.densities import Site, agree, has_dependent_support, inside_support, unvalidated
from ppl_vae.programs.execution import Sites, SubstituteLatents, execute, latents, observations
from ppl_vae.programs.explain import explained, is_refusal
from ppl_vae.programs.fit import check_densities, check_proposal, density_faults, fault_of_names
from ppl_vae.programs.flat_prior import FlatPrior
from ppl_vae.programs.given import Given
from ppl_vae.programs.kept_apart import check_untouched
from ppl_vae.programs.layout_finder import REFUSED
from ppl_vae.programs.layouts import layout_again, layout_of
from ppl_vae.programs.missing import counted, filled
from ppl_vae.programs.parameters import adopt_parameters
from ppl_vae.programs.placed import check_placed
from ppl_vae.programs.random_state import fork_random_state

__all__ = [
    "DRAWS",
    "FirstRow",
    "SubstituteLatents",
    "Site",
    "Sites",
    "check_cover",
    "check_pair",
    "check_points",
    "cover_faults",
    "latents",
    "log_prob",
    "pair_faults",
    "observations",
    "run",
    "scores",
    "broadcasts_codes",
    "total",
]


@explained
def run(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    draws: int,
    plates: int | None = None,
    handler: Messenger | None = None,
    training: bool = False,
) -> Sites:
    """Runs a model or guide for many samples at once and returns its sample sites by name.

    What is measured is a density per datum: scales are taken off, subsampling plates take the batch in its order, and
    what is no density is refused. Objectives keep Pyro's meaning of all of these.

    Sites come in canonical form, ``(draws, data, *event)`` in one plate called ``"data"``, whatever the plates of the
    program: that over data is found, and the plates inside it become dimensions of the event.

    Arguments:
        program: A model or guide.
        args: Its arguments; a batch of several fields alone is spread into them.
        kwargs: Its keyword arguments.
        draws: Number of samples.
        plates: Number of dimensions of the program's plates, where sites are wanted as the program has them, with a
            dimension of samples to the left; None is canonical form.
        handler: A messenger applied outside the program's plates.
        training: Whether the sites are those of an objective, scaled and with factors as the program has them.

    Raises:
        ValueError: Unless training, if a site is no density or hides a latent behind a mask, naming it.
    """
    while isinstance(program, Given | FlatPrior):
        handler, program = program.messenger(handler), program.func
    check_untouched(program)
    check_placed(program, args, kwargs)
    adopt_parameters(program)
    program = without_autoguide(program, training=training)
    layout = layout_of(program, args, kwargs) if plates is None else Layout(plates)
    try:
        return execute(program, args, kwargs, layout, draws=draws, handler=handler, training=training)
    except REFUSED as error:
        of_shapes = DRAWS in str(error) or not isinstance(error, ValueError)
        if layout.failure is not None and of_shapes:
            raise layout.failure from None  # of a run of one sample: this one may be of the samples alone
        again = layout_again(program, args, kwargs, layout) if plates is None and not is_refusal(error) else None
        if again is None:
            raise
    return execute(program, args, kwargs, again, draws=draws, handler=handler, training=training)


def log_prob(site: Site, *, raw: bool = False) -> Tensor:
    """Log-density of a site's value in nats, ``(draws, *plates)``, scaled and masked as Pyro does unless ``raw``."""
    # Where the support depends on latents, a value outside is impossible given these, and no fault of the data.
    is_limited = site["is_observed"] and has_dependent_support(site["fn"])
    is_checked = is_validation_enabled() and not is_limited
    fn = site["fn"] if is_checked else unvalidated(site["fn"])
    try:
        value = filled(site)
        log_density = exponential_family.log_prob(fn, value)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"site {site['name']!r} cannot be scored: {error}") from error
    if is_limited:
        log_density = inside_support(fn, value, counted(site, site["value"]), log_density)
    log_density = unclamped(site, log_density)
    result: Tensor = log_density if raw else scale_and_mask(log_density, site["scale"], site["mask"])
    return result


def total(sites: Mapping[str, Site], who: str) -> Tensor:
    """Sum of the log-densities of sites inside the data plate, ``(draws, batch)``, in nats; 0 without sites."""
    return reduce(torch.add, scores(sites, who).values(), torch.zeros(()))


def scores(sites: Mapping[str, Site], who: str) -> dict[str, Tensor]:
    """Log-densities by site, each inside the data plate, ``(draws, batch)``.

    Raises:
        ValueError: If a site lies outside the plate over data, naming it.
    """
    for fault in plate_faults(sites, who):
        raise fault
    return {name: log_prob(site) for name, site in sites.items()}


def plate_faults(sites: Mapping[str, Site], who: str) -> Iterator[ValueError]:
    """A fault for each site outside the plate over data, naming it."""
    for name, site in sites.items():
        frames = [frame.name for frame in site["cond_indep_stack"] if frame.name != DRAWS]
        if frames != ["data"]:
            where = f"inside the plates {frames}, none of which has the number of data as its size" if frames else ""
            yield ValueError(
                f"site {name!r} of the {who} lies {where or 'outside the plate over data'}: no datum has a density of "
                "its own; put it inside pyro.plate(NAME, len(x)), or make what all data share a parameter"
            )


def check_cover(model: Mapping[str, Site], guide: Mapping[str, Site]) -> None:
    """Checks that a guide samples exactly the model's latents, where the model has them.

    Raises:
        ValueError: Naming the sites.
    """
    for fault in cover_faults(model, guide):
        raise fault


def cover_faults(model: Mapping[str, Site], guide: Mapping[str, Site]) -> list[ValueError]:
    """All faults by :func:`check_cover`: of the guide's names, then of each site."""
    wanted, faults = latents(model), list[ValueError]()
    if (of_names := fault_of_names(wanted, guide)) is not None:
        faults.append(ValueError(of_names))
    for name in [name for name in guide if name in wanted]:
        try:
            check_proposal(model[name], guide[name])
        except ValueError as fault:
            faults.append(fault)
    return faults


def check_pair(model: Callable[..., Any], guide: Callable[..., Any], x: Batch) -> None:
    """Checks that a guide samples exactly the model's latents: :func:`check_cover` of a run of each on some data."""
    for fault in pair_faults(model, guide, x):
        raise fault


def pair_faults(model: Callable[..., Any], guide: Callable[..., Any], x: Batch) -> list[ValueError]:
    """All faults by :func:`check_pair`, then those of the guide's plates; without any, sites that have no density."""
    with evaluating(model, guide), fork_random_state():
        proposed = run(guide, (x,), {}, draws=1, training=True)
        fixed = SubstituteLatents(proposed.values_of_latents())
        try:
            scored = run(model, (x,), {}, draws=1, handler=fixed, training=True)
            faults = cover_faults(scored, proposed) + list(plate_faults(proposed, "guide"))
            return faults or list(density_faults(proposed, scored))
        except REFUSED:  # values of another kind than the model's own may stop it
            if faults := cover_faults(run(model, (x,), {}, draws=1, training=True), proposed):
                return faults
            raise


def check_points(model: Callable[..., Any], guide: Callable[..., Any], x: Batch) -> None:
    """Refuses points in the place of densities, by :func:`~ppl_vae.programs.fit.check_densities`, before all else."""
    with evaluating(model, guide), fork_random_state():
        try:
            proposed = run(guide, (x[:2],), {}, draws=1)
            scored = run(model, (x[:2],), {}, draws=1)
        except REFUSED:
            return  # what needs all data, or is refused in its place
    if not latents(scored) and not proposed:
        raise ValueError(fault_of_names({}, {}))
    check_densities({name: site for name, site in proposed.items() if name in scored}, scored)


def broadcasts_codes(score: Callable[[dict[str, Tensor]], Tensor], latents: Mapping[str, Any]) -> bool:
    """Whether a program takes latents of batch size 1 and scores every datum with each of them.

    Arguments:
        score: From values by site name, ``(draws, batch or 1, *event)``, to ``(draws, batch)``.
        latents: Distributions of the sites.
    """
    values = {}
    with torch.no_grad(), fork_random_state():
        for name, fn in latents.items():
            values[name] = fn.sample((3,))[:, :1]
        try:
            together = score(values)
            apart = score({n: v.expand(3, *latents[n].shape()).clone() for n, v in values.items()})
        except (ValueError, RuntimeError, IndexError):
            return False  # the program builds on the batch size of its codes
        return together.shape == apart.shape and agree(together, apart)


class FirstRow:
    """View of a prior of shape ``(1, batch)`` as one of shape ``(batch,)``."""

    def __init__(self, fn: TorchDistribution) -> None:
        self.fn = fn

    def sample(self, shape: tuple[int, ...]) -> Tensor:
        drawn: Tensor = self.fn.sample(shape)[:, 0]
        return drawn

    def shape(self) -> torch.Size:
        return torch.Size(self.fn.shape()[1:])

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size(self.fn.batch_shape[1:])

"""Which estimator serves a guide."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from ppl_vae.estimators.base.estimator import Estimator
from ppl_vae.estimators.base.first_order import FirstOrder
from ppl_vae.nn.modes import evaluating
from ppl_vae.objectives.flip_differences import knows_flip_differences
from ppl_vae.objectives.work import work_by_rows
from ppl_vae.plugins.discovery import Plugin, find
from ppl_vae.programs.handlers import FirstRow, SubstituteLatents, broadcasts_codes, latents, log_prob, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite
from ppl_vae.programs.types import Program

__all__ = ["Auto", "choose_estimator", "fit_estimator", "lists_for_all", "make_estimator", "refusal", "shipped"]

FEW = 8
"""Bits whose codes are listed rather than drawn where that is a choice: 256 are as many as the documents of a batch."""
DRAWING = ("disarm+first_order", "loo")
"""Estimators that draw, the best first."""
ALLOWANCE = {True: 2.0, False: 16.0}
"""Work that listing all states may take, in that of the fewest draws, with the control variate and without."""


class Auto(FirstOrder):
    """Enumerate where listing all states costs about what a few draws do, else the best estimator for the pair.

    The choice is that of :func:`choose_estimator`, which looks at the pair; by itself it is ``disarm`` with the control
    variate.
    """

    def __init__(self) -> None:
        super().__init__(shipped("disarm"))
        self.name = "auto"


def make_estimator(name: str, control: bool | None = None) -> Estimator:
    """An estimator by name, inside the first-order control variate if ``control``.

    Arguments:
        name: ``"auto"``, or the name or file of an estimator: shipped ones, and those in ``estimators/`` of the working
            folder.
        control: None is yes for every estimator that takes it. ``auto`` with either answer is ``disarm``.

    Raises:
        ValueError: For an unknown name, listing the choices; for a file that does not hold one estimator; or for a
            control variate around an estimator that takes none.
    """
    if name == "auto" and control is None:
        return Auto()
    plugin = find("estimators", name, besides=("auto",)) if name != "auto" else find("estimators", "disarm", own=False)
    kind = _class_in(plugin)
    try:
        estimator = kind()
    except TypeError as error:
        raise ValueError(
            f"{plugin.file}: {error}; give each argument a default, and define draw and gradient"
        ) from error
    estimator.name = plugin.name
    if control is None:
        control = estimator.no_control is None
    return FirstOrder(estimator) if control else estimator


def shipped(name: str) -> Estimator:
    """A shipped estimator by its whole name, such as ``disarm+first_order``, whatever lies in the working folder."""
    plain, plus, _ = name.partition("+")
    estimator = _class_in(find("estimators", plain, own=False))()
    return FirstOrder(estimator) if plus else estimator


def _class_in(plugin: Plugin) -> type[Estimator]:
    return plugin.load_class(Estimator)  # type: ignore[type-abstract]  # the class in a file is a concrete one


def _few_states() -> Estimator:
    estimator = shipped("enumerate")
    estimator.most_bits = FEW
    return estimator


def refusal(estimator: Estimator, sites: list[GuideSite]) -> str | None:
    """Why an estimator cannot serve a guide, naming the site; None if it can."""
    discrete = [site for site in sites if site.discrete]
    needs = f"{estimator.name} needs independent {'bits or states' if estimator.categorical else 'bits'}"
    is_controlled = estimator.without_control is not estimator
    if estimator.without_replacement and (len(discrete) != 1 or discrete[0].parts is None):
        named = ", ".join(f"{site.name!r} ({site.family})" for site in discrete)
        return f"{estimator.name} draws the states of a single site that lists them, but there are {named}; use loo"
    if estimator.single_site and len(discrete) > 1:
        named = ", ".join(repr(site.name) for site in discrete)
        return f"{estimator.name} flips bits of a single site, but there are {named}; use disarm"
    for site in discrete:
        if estimator.exact and site.kind == "score":
            return f"{estimator.name} cannot list the values of site {site.name!r} ({site.family}); use loo"
        if not estimator.factorised:
            continue
        if site.kind != "bits" and not (estimator.categorical and site.parts):
            return f"{needs}, but site {site.name!r} is {site.family}; use loo or enumerate"
        if not site.independent:
            return f"{needs}, but those of site {site.name!r} depend on other draws; use loo"
        if is_controlled and not site.relaxes:
            return f"{estimator.name} evaluates the model between states, but those of site {site.name!r} are numbered"
    dependent = [site.name for site in sites if not site.independent]
    if estimator.independent_latents and dependent:
        return (
            f"{estimator.name} changes bits with all other latents fixed, but site {dependent[0]!r} depends on others"
            "; use disarm"
        )
    states = prod(site.states for site in discrete)
    if estimator.most_bits is not None and states > 2**estimator.most_bits:
        names = ", ".join(repr(site.name) for site in discrete)
        return (
            f"{estimator.name} visits at most {2**estimator.most_bits} states, but sites {names} have {states}"
            "; use disarm or loo"
        )
    outside = [site.name for site in sites if discrete and not set(discrete[0].frames) <= set(site.frames)]
    if (estimator.exact or estimator.without_replacement) and outside:
        return (
            f"{estimator.name} weighs the states of each datum, but site {outside[0]!r} lies outside the plate of "
            f"{discrete[0].name!r}; use loo"
        )
    if len({site.frames for site in discrete}) > 1:
        return f"discrete sites {[site.name for site in discrete]} lie in different plates; put them in the same one"
    return None


def fit_estimator(
    wanted: Estimator | str,
    sites: list[GuideSite],
    model: Program | None = None,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    control: bool | None = None,
) -> tuple[Estimator, str | None]:
    """The estimator wanted if it serves the guide, else the best one that does and a line that says so.

    Arguments:
        wanted: An estimator, its name or its file; ``"auto"`` leaves it to :func:`choose_estimator`.
        sites: Of the guide.
        model: What ``auto`` chooses by; None is as in :func:`choose_estimator`.
        args: Of the model.
        kwargs: Of the model.
        control: Whether an estimator by name has the first-order control variate; None is yes where estimator and guide
            take it.

    Raises:
        ValueError: If none serves the guide, naming the site.
    """
    by_default = isinstance(wanted, str) and control is None
    if isinstance(wanted, str):
        wanted = make_estimator(wanted, control)
    if isinstance(wanted, Auto):
        return choose_estimator(sites, model, args, kwargs), None
    reason = refusal(wanted, sites)
    if reason is None:
        return wanted, None
    plain = wanted.without_control
    if refusal(plain, sites) is None:
        line = None if by_default else f"{reason.split(';')[0]}: using {plain.name} instead"
        return plain, line
    other = choose_estimator(sites, model, args, kwargs)
    return other, f"{reason.split(';')[0]}: using {other.name} instead"


def choose_estimator(
    sites: list[GuideSite],
    model: Program | None = None,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Estimator:
    """The choice of ``auto``: the estimator that trains furthest for its price, as measured in docs/estimators.md.

    The data of a batch make its gradient noisy, and the noise of an estimator adds little to that: listing all states,
    which has none, is worth :data:`ALLOWANCE` times the work of the fewest draws. Work is counted on the batch given,
    not timed, so that the choice is the same on every machine.

    Arguments:
        sites: Of the guide.
        model: None where its work is not known, as in several plates; few states are then listed but for bits that are
            independent.
        args: Of the model.
        kwargs: Of the model.

    Raises:
        ValueError: If no estimator serves the guide, naming the site.
    """
    kwargs, listing, local = kwargs or {}, _few_states(), shipped("local")
    drawing = next((e for e in map(shipped, DRAWING) if refusal(e, sites) is None), None)
    is_discrete = any(site.discrete for site in sites)
    if is_discrete and refusal(listing, sites) is None:
        if model is not None and drawing is not None:
            is_cheap = _lists_cheaply(drawing, model, sites, args, kwargs)
        else:
            is_cheap = drawing is None or drawing.name != DRAWING[0]
        if is_cheap:
            return listing
    if drawing is None:
        raise ValueError(refusal(shipped("loo"), sites))
    if model is not None and refusal(local, sites) is None and knows_flip_differences(model, sites, args, kwargs):
        return local
    return drawing


def _lists_cheaply(
    drawing: Estimator, model: Program, sites: list[GuideSite], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool:
    """Whether listing all states is worth its work, beside an estimator that draws."""
    states = prod(site.states for site in sites if site.discrete)
    controlled = drawing.without_control is not drawing
    work = work_by_rows(model, args, kwargs)
    sampled = work(drawing.rows(drawing.least_draws)) + (work(1) if controlled else 0)
    listing = work_by_rows(model, args, kwargs, shared=True) if lists_for_all(model, sites, args, kwargs) else work
    return listing(states) <= ALLOWANCE[controlled] * sampled


def lists_for_all(model: Program, sites: list[GuideSite], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the model scores listed states once for all data of a batch, which no site of the guide hinders.

    A site that depends on others has the guide, too, work on their codes.
    """

    def score(values: Mapping[str, Tensor]) -> Tensor:
        rows = len(next(iter(values.values())))
        scored = run(model, args, dict(kwargs), draws=rows, handler=SubstituteLatents(values), training=True)
        return sum((log_prob(site) for site in scored.values()), torch.zeros(()))

    if not all(site.discrete and site.independent for site in sites):
        return False
    with evaluating(model), fork_random_state():
        drawn = latents(run(model, args, dict(kwargs), draws=1, training=True))
        families = {site.name: FirstRow(drawn[site.name]["fn"]) for site in sites if site.name in drawn}
        several = all(family.shape()[0] > 1 for family in families.values())
        return len(families) == len(sites) and several and broadcasts_codes(score, families)

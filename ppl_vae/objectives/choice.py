"""Which estimator serves a guide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

from pyro import poutine

from ppl_vae.estimators import ESTIMATORS, Auto, DisARM, Enumerate, Estimator, FirstOrder, Local, ReinforceLOO
from ppl_vae.nn.modes import evaluating
from ppl_vae.objectives.bit_gains import knows_flip_differences
from ppl_vae.programs.handlers import LocalParameters, shares_codes
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite

__all__ = ["fit_estimator", "make_estimator", "refusal"]

FEW = 8
"""Bits whose codes are listed rather than drawn where that is a choice: 256 are as many as the documents of a batch."""


def make_estimator(name: str, control: bool | None = None) -> Estimator:
    """An estimator by name, inside the first-order control variate if ``control``.

    Arguments:
        name: One of :data:`ppl_vae.estimators.ESTIMATORS`.
        control: None is yes for every estimator that takes it. ``auto`` with either answer is DisARM.

    Raises:
        ValueError: For an unknown name, listing the choices, or for a control variate around the exact estimator.
    """
    if name not in ESTIMATORS:
        raise ValueError(f"unknown estimator {name!r}; choose from {', '.join(ESTIMATORS)}")
    if name == "auto":
        if control is None:
            return Auto()
        name = "disarm"
    estimator = ESTIMATORS[name]()
    if control is None:
        control = estimator.takes_control
    return FirstOrder(estimator) if control else estimator


def refusal(estimator: Estimator, sites: list[GuideSite]) -> str | None:
    """Why an estimator cannot serve a guide, naming the site; None if it can."""
    inner = estimator.estimator if isinstance(estimator, FirstOrder) else estimator
    discrete = [site for site in sites if site.discrete]
    needs = f"{estimator.name} needs independent bits"
    for site in discrete:
        if inner.exact and site.kind == "score":
            return f"{estimator.name} cannot list the values of site {site.name!r} ({site.family}); use loo"
        if not estimator.factorised:
            continue
        if site.kind != "bits":
            return f"{needs}, but site {site.name!r} is {site.family}; use loo or enumerate"
        if not site.independent:
            return f"{needs}, but those of site {site.name!r} depend on other draws; use loo"
    leaning = [site.name for site in sites if not site.independent]
    if estimator.needs == "gains" and leaning:
        return (
            f"{estimator.name} turns one bit and leaves all else as drawn, but site {leaning[0]!r} depends on others"
            "; use disarm"
        )
    states = prod(site.states for site in discrete)
    if isinstance(inner, Enumerate) and states > 2**inner.most_bits:
        names = ", ".join(repr(site.name) for site in discrete)
        return (
            f"enumerate visits at most {2**inner.most_bits} states, but sites {names} have {states}; use disarm or loo"
        )
    if len({site.frames for site in discrete}) > 1:
        return f"discrete sites {[site.name for site in discrete]} lie in different plates; put them in the same one"
    return None


def _lists_cheaply(
    model: Callable[..., Any], sites: list[GuideSite], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool:
    """Whether all codes are few, and the model scores them once for a whole batch: no draws cost less."""
    if not all(site.discrete and site.independent for site in sites) or refusal(Enumerate(most_bits=FEW), sites):
        return False
    if kwargs or len(args) != 1 or len(args[0]) < 2:
        return False
    with evaluating(model), fork_random_state(), poutine.block(), LocalParameters():
        nodes = poutine.trace(model).get_trace(*args).nodes
        drawn = {name: nodes[name]["fn"] for name in (site.name for site in sites) if name in nodes}
        return len(drawn) == len(sites) and shares_codes(partial(log_joint, model, args[0]), drawn)


def fit_estimator(
    estimator: Estimator, sites: list[GuideSite], model: Callable[..., Any] | None = None, *args: Any, **kwargs: Any
) -> tuple[Estimator, str | None]:
    """The estimator itself if it fits the guide, else the best one that does and a line that says so.

    Arguments:
        estimator: Which one is wanted.
        sites: Of the guide.
        model: What ``auto`` chooses by; without it, it does not choose Local.
        args: Of the model.
        kwargs: Of the model.

    Raises:
        ValueError: If none fits.
    """
    if isinstance(estimator, Auto):
        estimator = FirstOrder(DisARM())
        if model is not None and _lists_cheaply(model, sites, args, kwargs):
            estimator = Enumerate(most_bits=FEW)
        elif (
            model is not None and refusal(Local(), sites) is None and knows_flip_differences(model, sites, args, kwargs)
        ):
            estimator = Local()
    reason = refusal(estimator, sites)
    if reason is None:
        return estimator, None
    plain = [estimator.estimator] if isinstance(estimator, FirstOrder) else []
    for other in (*plain, FirstOrder(DisARM()), Enumerate(most_bits=FEW), ReinforceLOO()):
        if refusal(other, sites) is None:
            return other, f"{reason.split(';')[0]}: using {other.name} instead"
    raise ValueError(reason)

"""Which estimator serves a guide."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import prod
from typing import Any

from pyro import poutine

from ppl_vae.estimators.base.estimator import Estimator
from ppl_vae.estimators.base.first_order import FirstOrder
from ppl_vae.nn.modes import evaluating
from ppl_vae.objectives.flip_differences import knows_flip_differences
from ppl_vae.plugins.discovery import Plugin, find
from ppl_vae.programs.handlers import LocalParameters, broadcasts_codes
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite
from ppl_vae.programs.types import Program

__all__ = ["Auto", "choose_estimator", "fit_estimator", "make_estimator", "refusal"]

FEW = 8
"""Bits whose codes are listed rather than drawn where that is a choice: 256 are as many as the documents of a batch."""


class Auto(FirstOrder):
    """Enumerate for few bits, local where the likelihood knows its flip differences, else disarm with control variate.

    The choice is that of :func:`choose_estimator`, which looks at the pair; by itself it is the last.
    """

    def __init__(self) -> None:
        super().__init__(_shipped("disarm"))
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


def _shipped(name: str) -> Estimator:
    """A shipped estimator, whatever lies in the working folder."""
    return _class_in(find("estimators", name, own=False))()


def _class_in(plugin: Plugin) -> type[Estimator]:
    return plugin.load_class(Estimator)  # type: ignore[type-abstract]  # the class in a file is a concrete one


def _few_states() -> Estimator:
    estimator = _shipped("enumerate")
    estimator.most_bits = FEW
    return estimator


def refusal(estimator: Estimator, sites: list[GuideSite]) -> str | None:
    """Why an estimator cannot serve a guide, naming the site; None if it can."""
    discrete = [site for site in sites if site.discrete]
    needs = f"{estimator.name} needs independent bits"
    for site in discrete:
        if estimator.exact and site.kind == "score":
            return f"{estimator.name} cannot list the values of site {site.name!r} ({site.family}); use loo"
        if not estimator.factorised:
            continue
        if site.kind != "bits":
            return f"{needs}, but site {site.name!r} is {site.family}; use loo or enumerate"
        if not site.independent:
            return f"{needs}, but those of site {site.name!r} depend on other draws; use loo"
    dependent = [site.name for site in sites if not site.independent]
    if estimator.independent_latents and dependent:
        return (
            f"{estimator.name} flips one bit with all other latents fixed, but site {dependent[0]!r} depends on others"
            "; use disarm"
        )
    states = prod(site.states for site in discrete)
    if estimator.most_bits is not None and states > 2**estimator.most_bits:
        names = ", ".join(repr(site.name) for site in discrete)
        return (
            f"{estimator.name} visits at most {2**estimator.most_bits} states, but sites {names} have {states}"
            "; use disarm or loo"
        )
    if len({site.frames for site in discrete}) > 1:
        return f"discrete sites {[site.name for site in discrete]} lie in different plates; put them in the same one"
    return None


def _lists_cheaply(model: Program, sites: list[GuideSite], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether all codes are few, and the model scores them once for a whole batch: no draws cost less."""
    if not all(site.discrete and site.independent for site in sites) or refusal(_few_states(), sites):
        return False
    if kwargs or len(args) != 1 or len(args[0]) < 2:
        return False
    with evaluating(model), fork_random_state(), poutine.block(), LocalParameters():
        nodes = poutine.trace(model).get_trace(*args).nodes
        drawn = {name: nodes[name]["fn"] for name in (site.name for site in sites) if name in nodes}
        return len(drawn) == len(sites) and broadcasts_codes(partial(log_joint, model, args[0]), drawn)


def choose_estimator(sites: list[GuideSite], model: Program | None = None, *args: Any, **kwargs: Any) -> Estimator:
    """The choice of ``auto``: the estimator with the least noise for the price, as measured in docs/estimators.md.

    Arguments:
        sites: Of the guide.
        model: None where it does not serve to choose by; then it is ``disarm`` with the control variate.
        args: Of the model.
        kwargs: Of the model.
    """
    if model is not None and _lists_cheaply(model, sites, args, kwargs):
        return _few_states()
    if model is not None:
        local = _shipped("local")
        if refusal(local, sites) is None and knows_flip_differences(model, sites, args, kwargs):
            return local
    return FirstOrder(_shipped("disarm"))


def fit_estimator(
    estimator: Estimator, sites: list[GuideSite], model: Program | None = None, *args: Any, **kwargs: Any
) -> tuple[Estimator, str | None]:
    """The estimator itself if it fits the guide, else the best one that does and a line that says so.

    Arguments:
        estimator: The one wanted.
        sites: Of the guide.
        model: What ``auto`` chooses by; None is as in :func:`choose_estimator`.
        args: Of the model.
        kwargs: Of the model.

    Raises:
        ValueError: If none fits.
    """
    if isinstance(estimator, Auto):
        estimator = choose_estimator(sites, model, *args, **kwargs)
    reason = refusal(estimator, sites)
    if reason is None:
        return estimator, None
    for other in (estimator.without_control, FirstOrder(_shipped("disarm")), _few_states(), _shipped("loo")):
        if refusal(other, sites) is None:
            return other, f"{reason.split(';')[0]}: using {other.name} instead"
    raise ValueError(reason)

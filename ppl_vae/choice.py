"""Which estimator serves a guide."""

from __future__ import annotations

from math import prod

from ppl_vae.estimators import ESTIMATORS, DisARM, Enumerate, Estimator, FirstOrder, LeaveOneOut
from ppl_vae.sites import GuideSite

__all__ = ["fit_estimator", "make_estimator", "refusal"]


def make_estimator(name: str, control: bool | None = None) -> Estimator:
    """An estimator by name, inside the first-order control variate if ``control``.

    Arguments:
        name: One of :data:`ppl_vae.estimators.ESTIMATORS`.
        control: None is yes for every estimator but the exact one.

    Raises:
        ValueError: For an unknown name, listing the choices, or for a control variate around the exact estimator.
    """
    if name not in ESTIMATORS:
        raise ValueError(f"unknown estimator {name!r}; choose from {', '.join(ESTIMATORS)}")
    estimator = ESTIMATORS[name]()
    if control is None:
        control = not estimator.exact
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
    states = prod(site.states for site in discrete)
    if isinstance(inner, Enumerate) and states > 2**inner.most_bits:
        names = ", ".join(repr(site.name) for site in discrete)
        return (
            f"enumerate visits at most {2**inner.most_bits} states, but sites {names} have {states}; use disarm or loo"
        )
    if len({site.frames for site in discrete}) > 1:
        return f"discrete sites {[site.name for site in discrete]} lie in different plates; put them in the same one"
    return None


def fit_estimator(estimator: Estimator, sites: list[GuideSite]) -> tuple[Estimator, str | None]:
    """The estimator itself if it fits the guide, else the best one that does and a line that says so.

    Raises:
        ValueError: If none fits.
    """
    reason = refusal(estimator, sites)
    if reason is None:
        return estimator, None
    plain = [estimator.estimator] if isinstance(estimator, FirstOrder) else []
    for other in (*plain, FirstOrder(DisARM()), Enumerate(most_bits=8), LeaveOneOut()):
        if refusal(other, sites) is None:
            return other, f"{reason.split(';')[0]}: using {other.name} instead"
    raise ValueError(reason)

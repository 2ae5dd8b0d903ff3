"""Which method a pair's evidence will be had by, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, get_args

from torch.utils.flop_counter import FlopCounterMode

from ppl_vae.batches import PackedCounts
from ppl_vae.evidence.annealing import Schedule
from ppl_vae.evidence.coordinates import Coordinates, one_prior
from ppl_vae.evidence.gaussian import is_gaussian
from ppl_vae.evidence.quadrature import NODES
from ppl_vae.log_weight import run
from ppl_vae.modes import evaluating
from ppl_vae.randomness import kept_random_state
from ppl_vae.sites import GuideSite, guide_sites

__all__ = ["METHODS", "Method", "Plan", "cheap", "data_block", "not_flat", "obstacle", "plan"]

Program = Callable[..., Any]
Method = Literal["auto", "enumeration", "closed_form", "quadrature", "importance", "psis", "annealing"]
METHODS: tuple[Method, ...] = get_args(Method)

CHEAP_STATES = 2**12
"""Most states at which any guide's density is evaluated; independent bits, one matrix product, are always."""
AFFORDABLE = 2**32
"""Most (node, datum, observed number) cells that quadrature takes without being asked."""
CHAINS = 2**9
"""Most annealing chains that move together."""


@dataclass(frozen=True)
class Plan:
    """How the evidence will be had, and why so.

    Arguments:
        method: Never ``"auto"``.
        why: In words.
        sites: How the model draws its latents.
        block: Data worked on, and kept, together.
        cells: What the progress will add up to.
    """

    method: Method
    why: str
    sites: list[GuideSite]
    block: int
    cells: int


def plan(
    model: Program,
    x: Any,
    *,
    draws: int = 100,
    method: Method = "auto",
    most_bits: int = 16,
    schedule: Schedule | None = None,
) -> Plan:
    """Chooses the method for a model and its data; arguments and errors as those of :func:`measure`."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose from {', '.join(METHODS)}")
    if len(x) == 0:
        raise ValueError("there are no data to measure")
    with evaluating(model):
        sites = guide_sites(model, (x[:2],))
        auto = method == "auto"
        obstacles: dict[Method, Callable[[], str | None]] = {
            "enumeration": lambda: obstacle(sites, most_bits),
            "closed_form": lambda: _not_gaussian(model, x, sites),
            "quadrature": lambda: (_too_dear if auto else not_flat)(model, x, sites),
        }
        reasons = {}
        for exact in obstacles if method == "auto" else [method] if method in obstacles else []:
            try:
                reason = obstacles[exact]()
            except ValueError as error:  # latents that the method cannot even look at
                reason = str(error)
            if reason is None:
                method = exact
                break
            reasons[exact] = reason
    why = f"asked for {method}"
    if method == "auto":
        method, why = "importance", f"no exact method serves: {'; '.join(reasons.values())}"
    elif method in reasons:
        words = method.replace("_", " ")
        better = [other for other in obstacles if other != method and _serves(obstacles[other])]
        instead = better[0] if better else "annealing' or 'importance"
        raise ValueError(f"{words} is not possible: {reasons[method]}; use the method '{instead}'")
    elif method in obstacles:
        why = {
            "enumeration": f"the discrete latents have {prod(site.states for site in sites)} joint states",
            "closed_form": "log p(x, z) is quadratic in the latents",
            "quadrature": "the latents have one or two dimensions",
        }[method]
    block, each = data_block(x, draws), draws
    if method == "enumeration":
        each = prod(site.states for site in sites)
    elif method in ("closed_form", "quadrature"):
        each = 1
    elif method == "annealing":
        block = max(1, min(len(x), CHAINS // draws))
        each = (schedule or Schedule()).cells(draws)
    return Plan(method, why, sites, block, len(x) * each)


def _serves(obstacle: Callable[[], str | None]) -> bool:
    try:
        return obstacle() is None
    except ValueError:
        return False


def obstacle(sites: list[GuideSite], most_bits: int) -> str | None:
    """Why latents cannot be enumerated, naming the site; None if they can."""
    for site in sites:
        if site.kind not in ("bits", "states"):
            return f"site {site.name!r} is {site.family}"
    states = prod(site.states for site in sites)
    return f"the latents have {states} joint states, more than 2^{most_bits}" if states > 2**most_bits else None


def _discrete(sites: list[GuideSite]) -> str | None:
    return next((f"site {site.name!r} is {site.family}" for site in sites if site.kind in ("bits", "states")), None)


def _not_gaussian(model: Program, x: Any, sites: list[GuideSite]) -> str | None:
    return _discrete(sites) or is_gaussian(model, x)


def not_flat(model: Program, x: Any, sites: list[GuideSite]) -> str | None:
    """Why latents cannot be summed over a grid; None if they can."""
    reason = _discrete(sites)
    if reason is None:
        size = Coordinates(model, x).dimensions
        reason = None if size in NODES else f"the latents have {size} dimensions"
    if reason is None and not one_prior(model, x[:16]):
        reason = "p(z) differs between the data, which share quadrature's grid"
    return reason


def _too_dear(model: Program, x: Any, sites: list[GuideSite]) -> str | None:
    """As :func:`not_flat`; and where a usual grid would take long, a reason to be asked for it by name."""
    reason = not_flat(model, x, sites)
    if reason is None:
        nodes = 2 ** (18 if Coordinates(model, x).dimensions == 2 else 14)
        cells = x.vocabulary + len(x) if isinstance(x, PackedCounts) else len(x) * x[0].numel()
        with FlopCounterMode(display=False) as counter, evaluating(model), kept_random_state():
            run(model, (x[:1],), {}, draws=1)
        cells += counter.get_total_flops() // 2  # what a network takes at every node
        if nodes * cells > AFFORDABLE:
            return f"quadrature would take {nodes * cells:.1g} evaluations, and is only done when asked for"
    return reason


def cheap(guide: Program, x: Any, sites: list[GuideSite]) -> bool:
    """Whether a guide's density may be evaluated at every state of the latents."""
    independent = all(site.kind == "bits" and site.independent for site in guide_sites(guide, (x[:2],)))
    return independent or prod(site.states for site in sites) <= CHEAP_STATES


def data_block(x: Any, draws: int = 1) -> int:
    """Documents cost their distinct words, so one block takes thousands; tensors cost all their numbers."""
    most = 2**14 if isinstance(x, PackedCounts) else max(1, min(2**10, 2**18 // x[0].numel()))
    return most if draws <= 1000 else max(1, most * 1000 // draws)

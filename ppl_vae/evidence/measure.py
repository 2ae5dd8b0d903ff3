"""Bound, evidence and gap by the best method a pair allows."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from math import hypot, log, prod
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions.exponential_family import base
from ppl_vae.evidence.ais import AIS, Schedule
from ppl_vae.evidence.closed_form import NotGaussianError, gaussian, is_gaussian
from ppl_vae.evidence.coordinates import Coordinates, one_prior
from ppl_vae.evidence.enumeration import enumerate_states
from ppl_vae.evidence.importance import annealed, from_log_weights, importance, log_weights
from ppl_vae.evidence.quadrature import NODES, quadrature
from ppl_vae.evidence.results import Estimate, Evidence
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.log_weight import log_joint, log_proposal
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite, guide_sites
from ppl_vae.programs.states import obstacle
from ppl_vae.programs.types import Program, Progress

__all__ = ["METHODS", "Method", "Plan", "cheap", "measure", "not_flat", "plan", "quick_evidence"]

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
        with FlopCounterMode(display=False) as counter, evaluating(model), fork_random_state():
            run(model, (x[:1],), {}, draws=1)
        cells += counter.get_total_flops() // 2  # what a network takes at every node
        if nodes * cells > AFFORDABLE:
            return f"quadrature would take {nodes * cells:.1g} evaluations, and is only done when asked for"
    return reason


def cheap(guide: Program, x: Any, sites: list[GuideSite]) -> bool:
    """Whether a guide's density may be evaluated at every state of the latents."""
    independent = all(site.kind == "bits" and site.independent for site in guide_sites(guide, (x[:2],)))
    return independent or prod(site.states for site in sites) <= CHEAP_STATES


LEAST_BOUND_DRAWS = 100
"""Draws for the ELBO beside an evidence that needs none, or few."""


def measure(
    model: Program,
    guide: Program,
    x: Any,
    *,
    draws: int = 100,
    method: Method = "auto",
    most_bits: int = 16,
    schedule: Schedule | None = None,
    done: MutableMapping[int, Evidence] | None = None,
    progress: Progress | None = None,
) -> Evidence:
    r"""ELBO, evidence and gap of each datum, all from the log-weights of the pair.

    With :math:`w(z) = \log p(x, z) - \log q(z \mid x)`, the methods are

    - ``"enumeration"``: :math:`\log p(x) = \log \sum_z p(x, z)` and
      :math:`\mathcal{L} = \sum_z q(z \mid x)\, w(z)`, exact, where all latents together have at most
      :math:`2^{\mathrm{most\_bits}}` states (finite mixtures among them); only the bound of a guide whose density is
      dear to evaluate (autoregressive, beyond 12 bits) comes from draws;
    - ``"closed_form"``: exact, where log p(x, z) is a quadratic function of z (linear Gaussian models);
    - ``"quadrature"``: one or two continuous dimensions, exact up to a tolerance that is checked;
    - ``"importance"``: the logarithm of the mean of so many weights, a lower bound in expectation (Burda, Grosse and
      Salakhutdinov 2016);
    - ``"psis"``: the same of Pareto-smoothed weights (Vehtari et al. 2024), less noisy and no longer a bound;
    - ``"annealing"``: the same of so many annealed chains (Neal 2001), a lower bound in expectation, much tighter where
      the guide misses the posterior.

    Arguments:
        model: The generative model.
        guide: Its guide.
        x: The data; worked through in blocks.
        draws: Draws, or annealing chains, a datum, where they are needed.
        method: ``"auto"`` takes the first exact one that serves, else importance, and says why.
        most_bits: Longest code to enumerate.
        schedule: How to anneal.
        done: Blocks measured already, by the position of their first datum. Each finished block is put in at once: hand
            in the same mapping again after an interruption, with everything else the same, and the rest is measured.
        progress: Called with the number of cells done since the last call; :func:`plan` knows their total.

    Returns:
        A :class:`Evidence`, in nats per datum.

    Raises:
        ValueError: If the method asked for is impossible, naming the site; or if there are no data.
    """
    schedule, done = schedule or Schedule(), {} if done is None else done
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    found = plan(model, x, draws=draws, method=method, most_bits=most_bits, schedule=schedule)
    if found.method in ("importance", "psis", "annealing") and draws < 2:
        raise ValueError(f"{found.method} needs at least 2 draws a datum, got {draws}; raise the draws")
    seed = int(torch.randint(2**31, ()))
    tick = progress or (lambda cells: None)
    parts = []
    with evaluating(model, guide):
        whole = found.method == "enumeration" and cheap(guide, x, found.sites)
        for start in range(0, len(x), found.block):
            part = x[start : start + found.block]
            if start in done:
                tick(found.cells * len(part) // len(x))
            else:
                # A block's draws do not depend on whether those before it were made in this very call.
                with fork_random_state(seed + start):
                    if found.method == "enumeration":
                        exact = enumerate_states(model, guide if whole else None, part, found.sites, tick)
                        done[start] = _complete(exact, model, guide, part, draws, found)
                    elif found.method == "closed_form":
                        done[start] = _closed_form(model, guide, part, draws, found, method)
                        tick(len(part))
                    elif found.method == "quadrature":
                        done[start] = _complete(
                            quadrature(model, part, progress=tick), model, guide, part, draws, found
                        )
                    elif found.method == "annealing":
                        weights = AIS(model, guide, part, schedule).forward(draws, tick)
                        bound = _sampled_bound(model, guide, part, draws)
                        done[start] = annealed(weights, bound, schedule.temperatures)
                    else:
                        smooth = found.method == "psis"
                        done[start] = importance(model, guide, part, draws, tick, smooth=smooth)
            parts.append(done[start])
        joined = replace(Evidence.join(parts), why=found.why)
        if joined.constant and found.method in ("importance", "psis"):
            joined = joined.settled(_constant_elsewhere(model, guide, x, joined.elbo.pointwise))
        return joined.normalised(_normaliser_error(model, x))


def _normaliser_error(model: Program, x: Any) -> float:
    """Standard error of log p(z) where its normaliser is an estimate, the same for all data."""
    with fork_random_state():
        drawn = latents(run(model, (x[:1],), {}, draws=1)).values()
    return hypot(*(getattr(base(site["fn"]), "log_prob_se", 0.0) for site in drawn))


def _closed_form(model: Program, guide: Program, x: Any, draws: int, how: Plan, asked: Method) -> Evidence:
    """Closed forms of a block of data, for some of which the density may turn out to be no quadratic."""
    try:
        return _complete(gaussian(model, guide, x), model, guide, x, draws, how)
    except NotGaussianError:
        if asked == "closed_form":
            raise
    if not_flat(model, x, how.sites):
        return importance(model, guide, x, draws)
    return _complete(quadrature(model, x), model, guide, x, draws, how)


def _constant_elsewhere(model: Program, guide: Program, x: Any, value: Tensor) -> bool:
    """Whether draws from the prior, too, have the constant log-weights that those of the guide have."""
    most = 64
    for start in range(0, len(x), most):
        part = x[start : start + most]
        values = {name: site["value"] for name, site in latents(run(model, (part,), {}, draws=8)).items()}
        weights = log_joint(model, part, values) - log_proposal(guide, part, values)
        expected = value[start : start + most]
        if not bool(((weights - expected).abs() <= 1e-4 * (1 + expected.abs())).all()):
            return False
    return True


def quick_evidence(model: Program, guide: Program, x: Any, draws: int, most_bits: int = 10) -> Tensor:
    r"""log p(x) of each datum, ``(data,)``, in nats: quick, for watching a training.

    Exact where the latents have at most :math:`2^{\mathrm{most\_bits}}` joint states, else the importance-weighted
    bound of so many draws (Burda, Grosse and Salakhutdinov 2016, eq. 8).
    """
    with evaluating(model, guide):
        sites = guide_sites(model, (x[:2],))
        if obstacle(sites, most_bits):
            return torch.cat([w.logsumexp(0) - log(draws) for w, _ in log_weights(model, guide, x, draws)])
        step = data_block(x)
        blocks = (x[start : start + step] for start in range(0, len(x), step))
        return torch.cat([cast(Tensor, enumerate_states(model, None, part, sites)) for part in blocks])


def _sampled_bound(model: Program, guide: Program, x: Any, draws: int) -> Estimate:
    draws = max(draws, LEAST_BOUND_DRAWS)
    return Estimate.join([from_log_weights(w, distinct).elbo for w, distinct in log_weights(model, guide, x, draws)])


def _complete(
    exact: Evidence | Estimate | Tensor, model: Program, guide: Program, x: Any, draws: int, how: Plan
) -> Evidence:
    """Exact evidence, and beside it a bound from draws where it is not exact too."""
    if isinstance(exact, Evidence):
        return exact
    if not isinstance(exact, Estimate):
        states = f" of {prod(site.states for site in how.sites)} states" if how.method == "enumeration" else ""
        exact = Estimate(exact, how.method.replace("_", " ") + states, "exact")
    elbo = _sampled_bound(model, guide, x, draws)
    gap = Estimate(
        exact.pointwise - elbo.pointwise,
        f"{exact.method}, {elbo.draws} draws",
        "unbiased",
        elbo.draws,
        elbo.pointwise_se,
    )
    return Evidence(elbo, exact, gap)

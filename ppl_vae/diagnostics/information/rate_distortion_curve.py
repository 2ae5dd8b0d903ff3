"""The rate-distortion curve of a decoder: what the best encoder could do with it at every price of a nat of rate."""

from __future__ import annotations

from functools import partial, reduce
from math import prod
from typing import Literal

import torch
from torch import Tensor

from ppl_vae.data.counts import Batch
from ppl_vae.diagnostics.information.curve import Curve
from ppl_vae.diagnostics.information.rates import CELLS, measure_rates, probe
from ppl_vae.evidence.ais import AIS, CHAINS, Schedule
from ppl_vae.evidence.estimate import Bound, Estimate
from ppl_vae.evidence.methods.enumeration import BLOCK
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.log_weight import log_joint, log_parts
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite, guide_sites
from ppl_vae.programs.states import States, obstacle
from ppl_vae.programs.types import Program, Progress

__all__ = ["BETAS", "curve_cells", "rate_distortion_curve"]

CurveMethod = Literal["auto", "enumeration", "annealing"]

BETAS = (8.0, 4.0, 2.0, 1.5, 1.0, 0.7, 0.5, 0.25, 0.125)
"""Weights of the rate at which the curve is met by default."""


def curve_cells(
    model: Program,
    x: Batch,
    *,
    betas: tuple[float, ...] = BETAS,
    method: CurveMethod = "auto",
    chains: int = 16,
    temperatures: int = 500,
    leapfrog_steps: int = 5,
) -> int:
    """Steps that the progress of :func:`rate_distortion_curve` adds up to; arguments as there."""
    with evaluating(model):
        sites = guide_sites(model, (x[:2],))
    if _enumerates(sites, method):
        return len(x) * prod(site.states for site in sites)
    return len(x) * _schedule(betas, temperatures, leapfrog_steps).cells(chains)


def _schedule(betas: tuple[float, ...], temperatures: int, leapfrog_steps: int) -> Schedule:
    return Schedule(temperatures, leapfrog_steps, "prior", through=tuple(1 / beta for beta in betas))


def _enumerates(sites: list[GuideSite], method: CurveMethod, most_bits: int = 16) -> bool:
    reason = obstacle(sites, most_bits)
    if method == "enumeration" and reason:
        raise ValueError(f"enumeration is not possible: {reason}; use the method 'annealing'")
    return method != "annealing" and reason is None


def rate_distortion_curve(
    model: Program,
    guide: Program,
    x: Batch,
    *,
    betas: tuple[float, ...] = BETAS,
    method: CurveMethod = "auto",
    chains: int = 16,
    temperatures: int = 500,
    leapfrog_steps: int = 5,
    draws: int = 100,
    progress: Progress | None = None,
) -> Curve:
    r"""What the best encoder could do with a prior and a decoder, at several weights of the rate.

    .. math:: \min_q D + \beta R = -\beta \log Z_t, \qquad Z_t = \mathbb{E}_{p(z)}\, p(x \mid z)^t, \quad t = 1 / \beta

    is reached by :math:`q_t(z \mid x) \propto p(z)\, p(x \mid z)^t`, whose rate is :math:`-t D - \log Z_t` (Alemi et
    al. 2018, section 3). All of them lie on the way that annealed importance sampling takes from the prior, so that one
    annealed run gives the whole curve (Huang, Makhzani, Cao and Grosse 2020); where codes can be listed it is
    exact. Any guide's point lies above the curve, and by how much at each weight is what the guide loses there; at
    weight one that is the gap.

    Arguments:
        model: The model.
        guide: Its guide.
        x: The data.
        betas: Weights of the rate.
        method: ``"auto"`` lists up to 2^16 codes, else anneals.
        chains: Annealed chains per datum.
        temperatures: Steps of annealing, besides those at the weights asked for.
        leapfrog_steps: Leapfrog steps of a Hamiltonian move.
        draws: Of the guide, a datum, where its own point needs them.
        progress: Called with the number of cells done.

    Returns:
        The curve; errors are over the chains. -log Z is an upper bound in expectation where it is annealed, rate and
        distortion by themselves are neither above nor below.

    Raises:
        ValueError: If a weight is not a positive number, or the method cannot serve the latents.
    """
    if not betas or not all(0 < beta < float("inf") for beta in betas):
        raise ValueError(f"weights of the rate are positive numbers, got {list(betas)}")
    if method not in ("auto", "enumeration", "annealing"):
        raise ValueError(f"unknown method {method!r}; choose from auto, enumeration, annealing")
    betas = tuple(sorted(set(betas), reverse=True))
    schedule = _schedule(betas, temperatures, leapfrog_steps)
    with evaluating(model, guide):
        sites = guide_sites(model, (x[:2],))
        own = measure_rates(model, guide, x, probe(model, guide, x), draws)
        if _enumerates(sites, method):
            states, count = States(sites, model, x[:3]), 0
            values, words = (
                _listed(model, states, x, schedule.through, progress),
                f"enumeration of {states.count} states",
            )
        else:
            if chains < 2:
                raise ValueError(f"annealing needs at least 2 chains per datum for an error, got {chains}")
            values, count = _annealed(model, guide, x, schedule, chains, progress), chains
            words = f"annealing, {temperatures} temperatures, {chains} chains"

    def estimates(name: str, bound: Bound) -> tuple[Estimate, ...]:
        errors = values.get(f"{name}_se", [None] * len(betas))  # exact values have none
        return tuple(
            Estimate(value, words, "exact" if error is None else bound, count, error)
            for value, error in zip(values[name], errors, strict=True)
        )

    return Curve(
        betas,
        estimates("rate", "approximate"),
        estimates("distortion", "approximate"),
        estimates("cost", "upper"),
        own.rate,
        own.distortion,
        own.elbo,
    )


def _listed(
    model: Program, states: States, x: Batch, heats: tuple[float, ...], progress: Progress | None
) -> dict[str, Tensor]:
    """Sums over all codes, a block of codes and of data at a time, ``(heats, data)`` each."""
    shared = states.shared(partial(log_joint, model))
    t = torch.tensor(heats, dtype=torch.float64, device=states.device)[:, None]
    width = 1 if not isinstance(x, Tensor) else x[0].numel()
    parts = []
    for start in range(0, len(x), size := data_block(x)):
        part = x[start : start + size]
        block = max(1, min(BLOCK, CELLS // (len(part) * max(width, len(heats)))))
        log_z = torch.full((len(heats), len(part)), -torch.inf, dtype=torch.float64, device=states.device)
        mean = torch.zeros_like(log_z)
        for first in range(0, states.count, block):
            likelihood, prior = log_parts(model, part, states.codes(first, first + block, len(part), shared))
            likelihood = likelihood.double()
            joint = reduce(torch.add, prior.values()).double() + t[..., None] * likelihood
            here = joint.logsumexp(1)
            share = (joint - here[:, None]).exp()
            # A code that cannot have made the datum has no part in the mean, and neither has a block of such codes.
            of_block = torch.where(share > 0, share * likelihood, 0).sum(1)
            new = torch.logaddexp(log_z, here)
            mean = mean * (log_z - new).exp() + of_block * (here - new).exp()
            log_z = new
            if progress:
                progress(likelihood.numel())
        parts.append((log_z, mean))
    log_z, mean = (torch.cat([part[i] for part in parts], 1) for i in range(2))
    return {"rate": t * mean - log_z, "distortion": -mean, "cost": -log_z / t}


def _annealed(
    model: Program, guide: Program, x: Batch, schedule: Schedule, chains: int, progress: Progress | None
) -> dict[str, Tensor]:
    """The same by chains, with jackknife errors over them."""
    entries: dict[str, list[Tensor]] = {}
    seed = int(torch.randint(2**31, ()))
    for start in range(0, len(x), block := max(1, CHAINS // chains)):
        with fork_random_state(seed + start):
            seen = AIS(model, guide, x[start : start + block], schedule).along(chains, progress)
        rows: dict[str, list[Tensor]] = {}
        for t in schedule.through:
            for name, value in _point(t, *seen[t]).items():
                rows.setdefault(name, []).append(value)
        for name, values in rows.items():
            entries.setdefault(name, []).append(torch.stack(values))
    return {name: torch.cat(parts, 1) for name, parts in entries.items()}


def _point(t: float, weight: Tensor, likelihood: Tensor) -> dict[str, Tensor]:
    """Rate, distortion and cost at one inverse temperature from weighted chains, with jackknife errors."""
    chains, values = len(weight), {}
    # All chains first, then all but one of them. Their own sums: what is left when a chain with most of the mass is
    # subtracted from the sum of all would be rounding.
    out = torch.eye(chains + 1, chains, dtype=torch.bool, device=weight.device).roll(1, 0)[..., None]
    left = torch.where(out, -torch.inf, weight)
    log_z = left.logsumexp(1) - (~out).sum(1).to(weight).log()
    share = (left - left.amax(1, keepdim=True)).softmax(1)
    mean = torch.where(share > 0, share * likelihood, 0).sum(1)
    for name, all_of in (("rate", t * mean - log_z), ("distortion", -mean), ("cost", -log_z / t)):
        rest = all_of[1:]
        values[name] = all_of[0]
        values[f"{name}_se"] = ((rest - rest.mean(0)).square().sum(0) * (chains - 1) / chains).sqrt()
    return values

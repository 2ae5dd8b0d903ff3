"""The rate-distortion curve of a decoder: rate and distortion of the best encoder at each weight of the rate."""

from __future__ import annotations

from functools import partial, reduce
from math import prod
from typing import Literal

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, as_batch, dense_width
from ppl_vae.diagnostics.information.curve import Curve
from ppl_vae.diagnostics.information.rates import CELLS, measure_rates, probe
from ppl_vae.evidence.ais import AIS, CHAINS, Schedule
from ppl_vae.evidence.as_written import as_written
from ppl_vae.evidence.estimate import Bound, Estimate
from ppl_vae.evidence.methods.enumeration import BLOCK
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.log_weight import log_joint, log_parts
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite, model_sites
from ppl_vae.programs.states import States, obstacle
from ppl_vae.programs.types import Program, Progress

__all__ = ["BETAS", "curve_cells", "rate_distortion_curve"]

CurveMethod = Literal["auto", "enumeration", "annealing"]

BETAS = (8.0, 4.0, 2.0, 1.5, 1.0, 0.7, 0.5, 0.25, 0.125)
"""Default weights of the rate."""


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
    """Returns the number of cells that :func:`rate_distortion_curve` reports, for the same arguments."""
    with evaluating(model):
        sites = model_sites(model, x)
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
    *data: object,
    betas: tuple[float, ...] = BETAS,
    method: CurveMethod = "auto",
    chains: int = 16,
    temperatures: int = 500,
    leapfrog_steps: int = 5,
    draws: int = 100,
    progress: Progress | None = None,
) -> Curve:
    r"""Returns rate and distortion of the best encoder for a prior and a decoder, at several weights of the rate.

    .. math:: \min_q D + \beta R = -\beta \log Z_t, \qquad Z_t = \mathbb{E}_{p(z)}\, p(x \mid z)^t, \quad t = 1 / \beta

    is reached by :math:`q_t(z \mid x) \propto p(z)\, p(x \mid z)^t`, whose rate is :math:`-t D - \log Z_t` (Alemi et
    al. 2018, section 3). All of them lie on the path of annealed importance sampling from the prior, so that one
    annealed run gives the whole curve (Huang, Makhzani, Cao and Grosse 2020); where codes can be enumerated it is
    exact. The point of a guide lies above the curve; its excess at each weight is the loss of the guide there, at
    weight one the gap.

    Arguments:
        model: The model.
        guide: Its guide.
        data: Data as of :func:`~ppl_vae.evidence.measure.measure`.
        betas: Weights of the rate.
        method: ``"auto"`` enumerates up to 2^16 codes, else anneals.
        chains: Number of annealed chains per datum.
        temperatures: Number of temperatures, in addition to those of the given weights.
        leapfrog_steps: Number of leapfrog steps per Hamiltonian move.
        draws: Number of draws from the guide per datum, where its own point needs them.
        progress: Called with the number of cells completed since the last call.

    Returns:
        The curve, with errors over the chains. Where it is annealed, -log Z is an upper bound in expectation, but rate
        and distortion are no bounds.

    Raises:
        ValueError: If a weight is not a positive number, or the method cannot serve the latents.
    """
    x = as_batch(*data)
    if not betas or not all(0 < beta < float("inf") for beta in betas):
        raise ValueError(f"weights of the rate are positive numbers, got {list(betas)}")
    if method not in ("auto", "enumeration", "annealing"):
        raise ValueError(f"unknown method {method!r}; choose from auto, enumeration, annealing")
    betas = tuple(sorted(set(betas), reverse=True))
    schedule = _schedule(betas, temperatures, leapfrog_steps)

    def measured(progress: Progress) -> Curve:
        sites = model_sites(model, x)
        guide_rates = measure_rates(model, guide, x, probe(model, guide, x), draws)
        if _enumerates(sites, method):
            states, count = States(sites, model, x[:3]), 0
            values, method_description = (
                _enumerated(model, states, x, schedule.through, progress),
                f"enumeration of {states.count} states",
            )
        else:
            if chains < 2:
                raise ValueError(f"annealing needs at least 2 chains per datum for an error, got {chains}")
            values, count = _annealed(model, guide, x, schedule, chains, progress), chains
            method_description = f"annealing, {temperatures} temperatures, {chains} chains"

        def estimates(name: str, bound: Bound) -> tuple[Estimate, ...]:
            errors = values.get(f"{name}_se", [None] * len(betas))  # exact values have none
            return tuple(
                Estimate(value, method_description, "exact" if error is None else bound, count, error)
                for value, error in zip(values[name], errors, strict=True)
            )

        return Curve(
            betas,
            estimates("rate", "approximate"),
            estimates("distortion", "approximate"),
            estimates("cost", "upper"),
            guide_rates.rate,
            guide_rates.distortion,
            guide_rates.elbo,
        )

    return as_written("the rate-distortion curve", model, guide, x, measured, progress)


def _enumerated(
    model: Program, states: States, x: Batch, heats: tuple[float, ...], progress: Progress | None
) -> dict[str, Tensor]:
    """Sums over all codes, a block of codes and of data at a time, ``(heats, data)`` each."""
    shared = states.shared(partial(log_joint, model))
    t = torch.tensor(heats, dtype=torch.float64, device=states.device)[:, None]
    width = dense_width(x)
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
            log_z_block = joint.logsumexp(1)
            share = (joint - log_z_block[:, None]).exp()
            # Codes that cannot generate the datum have no part in the mean, and neither has a block of such codes.
            of_block = torch.where(share > 0, share * likelihood, 0).sum(1)
            new = torch.logaddexp(log_z, log_z_block)
            mean = mean * (log_z - new).exp() + of_block * (log_z_block - new).exp()
            log_z = new
            if progress:
                progress(likelihood.numel())
        parts.append((log_z, mean))
    log_z, mean = (torch.cat([part[i] for part in parts], 1) for i in range(2))
    return {"rate": t * mean - log_z, "distortion": -mean, "cost": -log_z / t}


def _annealed(
    model: Program, guide: Program, x: Batch, schedule: Schedule, chains: int, progress: Progress | None
) -> dict[str, Tensor]:
    """Estimates of the same from annealed chains, with jackknife errors over the chains."""
    entries: dict[str, list[Tensor]] = {}
    seed = int(torch.randint(2**31, ()))
    for start in range(0, len(x), block := max(1, CHAINS // chains)):
        with fork_random_state(seed + start):
            path = AIS(model, guide, x[start : start + block], schedule).along(chains, progress)
        rows: dict[str, list[Tensor]] = {}
        for t in schedule.through:
            for name, value in _point(t, *path[t]).items():
                rows.setdefault(name, []).append(value)
        for name, values in rows.items():
            entries.setdefault(name, []).append(torch.stack(values))
    return {name: torch.cat(parts, 1) for name, parts in entries.items()}


def _point(t: float, weight: Tensor, likelihood: Tensor) -> dict[str, Tensor]:
    """Rate, distortion and cost at one inverse temperature from weighted chains, with jackknife errors."""
    chains, values = len(weight), {}
    # All chains first, then all except one. Each subset is summed anew: subtracting a chain with most of the mass from
    # the sum of all would leave rounding.
    out = torch.eye(chains + 1, chains, dtype=torch.bool, device=weight.device).roll(1, 0)[..., None]
    weights = torch.where(out, -torch.inf, weight)
    log_z = weights.logsumexp(1) - (~out).sum(1).to(weight).log()
    share = (weights - weights.amax(1, keepdim=True)).softmax(1)
    mean = torch.where(share > 0, share * likelihood, 0).sum(1)
    for name, subsets in (("rate", t * mean - log_z), ("distortion", -mean), ("cost", -log_z / t)):
        rest = subsets[1:]
        values[name] = subsets[0]
        values[f"{name}_se"] = ((rest - rest.mean(0)).square().sum(0) * (chains - 1) / chains).sqrt()
    return values

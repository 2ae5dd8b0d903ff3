"""Evidence by a sum over a grid, for latents of one or two dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import log
from typing import ClassVar

import pyro
import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, dense_width, documents
from ppl_vae.evidence.coordinates import Coordinates, one_prior
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import with_sampled_bound
from ppl_vae.evidence.methods.base import EvidenceMethod, NotApplicableError
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.flops import Flops
from ppl_vae.programs.handlers import broadcasts_codes, run
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite, discrete_obstacle
from ppl_vae.programs.types import Program, Progress

__all__ = ["Quadrature", "quadrature"]

CELLS = 2**22
"""Largest number of (node, datum, observed number) cells held at once."""

SPREADS = 10
"""How far the grid reaches, in standard deviations of the prior."""

NODES = {1: (2**12, 2**17), 2: (2**6, 2**11)}
"""Nodes of an axis to begin with and at most, by the number of dimensions."""


AFFORDABLE = 2**32
"""Most (node, datum, observed number) cells for which quadrature is in the automatic choice."""


@dataclass(frozen=True)
class Quadrature(EvidenceMethod):
    r"""Exact to 1e-4 nats for one or two continuous numbers: the trapezoidal rule in the space of the latents.

    .. math:: \log p(x) \approx \log \Bigl( h^m \sum_{z \in \mathrm{grid}} p(x, z) \Bigr)

    Where the finest grid is too coarse, the evidence is called approximate.

    Arguments:
        draws: Samples per datum of the ELBO.
    """

    exact: ClassVar[bool] = True
    priority: ClassVar[int] = 30

    def obstacle(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        reason = discrete_obstacle(sites)
        if reason is None:
            size = Coordinates(model, x).dimensions
            reason = None if size in NODES else f"the latents have {size} dimensions"
        if reason is None and not one_prior(model, x):
            reason = "p(z) differs between the data, which share quadrature's grid"
        return reason

    def too_costly(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        nodes = 2 ** (18 if Coordinates(model, x).dimensions == 2 else 14)
        packed = documents(x)
        cells = len(x) * dense_width(x) + (packed.vocabulary if packed is not None else 0)
        with Flops() as counter, evaluating(model), fork_random_state():
            run(model, (x[:1],), {}, draws=1)
        cells += counter.flops // 2  # what a network takes at every node
        if nodes * cells > AFFORDABLE:
            return f"quadrature would take {nodes * cells:.1g} evaluations, and is done only if requested"
        return None

    def reason(self, sites: list[GuideSite]) -> str:
        return "the latents have one or two dimensions"

    def cost(self, x: Batch, sites: list[GuideSite]) -> int:
        return len(x)

    def measure(self, model: Program, guide: Program, x: Batch, sites: list[GuideSite], progress: Progress) -> Evidence:
        return with_sampled_bound(quadrature(model, x, progress=progress), model, guide, x, self.draws)


def quadrature(model: Program, x: Batch, *, tolerance: float = 1e-4, progress: Progress | None = None) -> Estimate:
    r"""Evidence of each datum by the trapezoidal rule in the space of the latents.

    .. math:: \log p(x) \approx \log \Bigl( h^m \sum_{z \in \mathrm{grid}} p(x, z) \Bigr)

    For smooth densities that fade towards the ends the error of the rule falls faster than any power of the spacing h
    (Trefethen and Weideman 2014, section 5): the spacing is halved until two changes in a row stay within the
    tolerance. A peak far narrower than the spacing escapes them all. The data share the grid.

    Arguments:
        model: A model with one or two continuous numbers latent in all.
        x: The data.
        tolerance: In nats; where the finest grid does not reach it the estimate says so.
        progress: Called with the number of data whose value has converged.

    Returns:
        An exact estimate, ``(data,)``, in nats.

    Raises:
        ValueError: If the latents are discrete or have more dimensions, or their prior is not the same for all data.
        NotApplicableError: If the grid misses mass of some data, or their sums are not finite.
    """
    coordinates = Coordinates(model, x)
    if coordinates.bits or coordinates.dimensions not in NODES:
        latents = f"{coordinates.dimensions} continuous dimensions and {coordinates.width} bits"
        raise ValueError(f"quadrature takes latents of one or two continuous dimensions, but they have {latents}")
    if not one_prior(model, x):
        raise ValueError("quadrature needs one prior for all data, but p(z) differs between them")
    with fork_random_state(0):
        prior = coordinates.prior_draws(model, x, 2**12)
        shared = len(x) > 1 and _shares(coordinates, model, x[:3], prior)
    centre, reach = prior.mean(0), SPREADS * prior.std(0)
    fewest, most = NODES[coordinates.dimensions]
    precise = torch.float32 if prior.device.type == "mps" else torch.float64
    value = torch.full((len(x),), torch.nan, dtype=precise, device=prior.device)
    change, before = torch.full_like(value, torch.inf), torch.full_like(value, torch.inf)
    left, nodes, cut = torch.arange(len(x), device=prior.device), fewest, torch.zeros_like(value).bool()
    while True:
        part = x if len(left) == len(x) else x[left]
        sums, edge = _sum(coordinates, model, part, centre, reach, nodes, shared)
        before[left], change[left] = change[left], (sums - value[left]).abs().nan_to_num(torch.inf)
        value[left], cut[left] = sums, edge > sums + log(tolerance)
        settled = (change[left] <= tolerance) & (before[left] <= tolerance)
        if progress:
            progress(int(settled.sum()))
        left = left[~settled]
        if not len(left) or nodes >= most:
            break
        nodes *= 2
    if progress:
        progress(len(left))
    notes = []
    lost = ~(value < torch.inf)
    if lost.any():
        raise NotApplicableError(
            f"the sums of {int(lost.sum())} of {len(x)} data are not finite: latents under- or overflow at the "
            "end of their support; use float64, or annealing"
        )
    left = left[value[left].isfinite()]
    if len(left):
        worst = change[left].max().item()
        notes.append(
            f"{len(left)} of {len(x)} data still change by up to {worst:.2g} nats on the finest grid: their posterior "
            "is narrower than its spacing; use annealing"
        )
    if cut.any():
        raise NotApplicableError(
            f"{int(cut.sum())} of {len(x)} data have mass beyond {SPREADS} standard deviations of the prior, or where "
            "the numbers of their latents run into the end of the support, which the grid does not reach; use "
            "importance sampling or annealing"
        )
    grid = " x ".join([str(nodes)] * coordinates.dimensions)
    return Estimate(value, f"quadrature on up to {grid} nodes", "approximate" if notes else "exact", notes=tuple(notes))


def _score(coordinates: Coordinates, model: Program, x: Batch, values: dict[str, Tensor], real: Tensor) -> Tensor:
    return log_joint(model, x, values) + coordinates.log_jacobian(real)


def _shares(coordinates: Coordinates, model: Program, x: Batch, prior: Tensor) -> bool:
    class Prior:
        def __init__(self, name: str) -> None:
            self.values = coordinates.values(prior[:3, None], prior[:3, None, :0])[name]

        def sample(self, shape: tuple[int, ...]) -> Tensor:
            return self.values.expand(-1, len(x), *self.values.shape[2:]).clone()

        def shape(self) -> torch.Size:
            return torch.Size((len(x), *self.values.shape[2:]))

    return broadcasts_codes(partial(log_joint, model, x), {part.name: Prior(part.name) for part in coordinates.real})


def _sum(
    coordinates: Coordinates, model: Program, x: Batch, centre: Tensor, reach: Tensor, nodes: int, shared: bool
) -> tuple[Tensor, Tensor]:
    """Log of the integral and the largest log-density at the grid's edge, ``(data,)`` each."""
    count = coordinates.dimensions
    precise = torch.float32 if centre.device.type == "mps" else torch.float64
    total = torch.full((len(x),), -torch.inf, dtype=precise, device=centre.device)
    edge = total.clone()
    axis = torch.linspace(-1, 1, nodes + 1, dtype=centre.dtype, device=centre.device)
    every = (nodes + 1) ** count
    width = dense_width(x)
    block = max(1, min(2**14, CELLS // (len(x) * width)))
    for start in range(0, every, block):
        index = torch.arange(start, min(start + block, every), device=centre.device)
        places = torch.stack([index // (nodes + 1) ** (count - 1 - d) % (nodes + 1) for d in range(count)], -1)
        points = centre + reach * axis[places]
        real = points[:, None] if shared else points[:, None].expand(-1, len(x), -1)
        with pyro.validation_enabled(False):  # far out, parameters may under- or overflow
            joint = _score(coordinates, model, x, coordinates.values(real, real[..., :0]), real).to(precise)
        total = torch.logaddexp(total, joint.logsumexp(0))
        outer = ((places == 0) | (places == nodes)).any(-1) | coordinates.saturated(points[:, None])[:, 0]
        if outer.any():
            edge = torch.maximum(edge, joint[outer].amax(0))
    cell = (2 * reach / nodes).log().sum().to(precise)
    # What lies beyond the grid is judged by the density at its edge times the size of the grid, whatever the spacing.
    return total + cell, edge + cell + count * log(nodes)

"""Evidence by a sum over a grid, for latents of one or two dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar

import torch

from ppl_vae.data.inputs import Batch, dense_width, documents
from ppl_vae.evidence.coordinates import Coordinates, one_prior
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.grid import SPREADS, Grid
from ppl_vae.evidence.importance import with_sampled_bound
from ppl_vae.evidence.methods.base import EvidenceMethod, NotApplicableError
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.flops import Flops
from ppl_vae.programs.handlers import run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite, discrete_obstacle
from ppl_vae.programs.types import Program, Progress

__all__ = ["Quadrature", "quadrature"]

NODES = {1: (2**12, 2**17), 2: (2**6, 2**11)}
"""Nodes of an axis to begin with and at most, by the number of dimensions."""


AFFORDABLE = 2**32
"""Most (node, datum, observed number) cells for which quadrature is in the automatic choice."""


@dataclass(frozen=True)
class Quadrature(EvidenceMethod):
    r"""Exact to 1e-4 nats for one or two continuous numbers: the trapezoidal rule in the space of the latents.

    .. math:: \log p(x) \approx \log \Bigl( h^m \sum_{z \in \mathrm{grid}} p(x, z) \Bigr)

    Where the finest grid is too coarse, or peaks may hide between its nodes, the evidence is called approximate.

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
    tolerance. A peak far narrower than the spacing escapes them all: what the operations of the density allow between
    the nodes is looked for besides (:mod:`ppl_vae.evidence.resolution`). The data share the grid.

    Arguments:
        model: A model with one or two continuous numbers latent in all.
        x: The data.
        tolerance: In nats; where the finest grid does not reach it, or may miss a peak, the estimate says so.
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
    grid = Grid(coordinates, model, x)
    fewest, most = NODES[coordinates.dimensions]
    value = torch.full((len(x),), torch.nan, dtype=grid.precise, device=grid.centre.device)
    total, edge = torch.full_like(value, -torch.inf), torch.full_like(value, -torch.inf)
    change, before = torch.full_like(value, torch.inf), torch.full_like(value, torch.inf)
    left, nodes = torch.arange(len(x), device=value.device), fewest
    while True:
        part = x if len(left) == len(x) else x[left]
        total[left], edge[left] = grid.add(part, nodes, total[left], edge[left], every=nodes == fewest)
        sums = total[left] + grid.cell(nodes)
        before[left], change[left] = change[left], (sums - value[left]).abs().nan_to_num(torch.inf)
        value[left] = sums
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
    # What lies beyond the grid is judged by the density at its edge times the size of the grid, whatever the spacing.
    cut = edge + grid.cell(1) > value + log(tolerance)
    if cut.any():
        raise NotApplicableError(
            f"{int(cut.sum())} of {len(x)} data have mass beyond {SPREADS} standard deviations of the prior, or where "
            "the numbers of their latents run into the end of the support, which the grid does not reach; use "
            "importance sampling or annealing"
        )
    if not notes and (reason := grid.missed(x, value, fewest, nodes)):
        notes.append(reason)
    name = " x ".join([str(nodes)] * coordinates.dimensions)
    return Estimate(value, f"quadrature on up to {name} nodes", "approximate" if notes else "exact", notes=tuple(notes))

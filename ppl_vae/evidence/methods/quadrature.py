"""Evidence by a sum over a grid, for latents of one or two dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, dense_width, documents
from ppl_vae.evidence.beyond import beyond, unseen
from ppl_vae.evidence.bounds import Bound
from ppl_vae.evidence.coordinates import Coordinates, one_prior
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.grid import FEWEST, SPREADS, Grid
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

MOST = {1: 2**17, 2: 2**11}
"""Most intervals of an axis, by the number of dimensions."""

ROUGH = {1: 2**17, 2: 2**9}
"""Most where a part of the prior is not seen, so that finer sums would not be exact either."""


WIDENED = 2
"""Most grids that are tried, the second one wider than the first if it has to be."""

WIDEST = 2**8
"""How much wider a grid may become: its nodes are as many as before."""

MARGIN = 1.25
"""How much further than the outermost node that counts a wider grid reaches."""

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
            reason = None if size in MOST else f"the latents have {size} dimensions"
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
    tolerance, of the sums or of those extrapolated from two spacings, which settle first where a density has corners
    at zero (a node), as a Laplace prior has. The grid reaches ten standard deviations of the prior, and is widened
    where what lies beyond counts (:mod:`ppl_vae.evidence.beyond`). A peak far narrower than the spacing escapes them
    all: what the operations of the density allow between the nodes is looked for besides
    (:mod:`ppl_vae.evidence.resolution`). The data share the grid.

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
    if coordinates.bits or coordinates.dimensions not in MOST:
        latents = f"{coordinates.dimensions} continuous dimensions and {coordinates.width} bits"
        raise ValueError(f"quadrature takes latents of one or two continuous dimensions, but they have {latents}")
    if not one_prior(model, x):
        raise ValueError("quadrature needs one prior for all data, but p(z) differs between them")
    ends, size = None, coordinates.dimensions
    for _ in range(WIDENED):
        grid = Grid(coordinates, model, x, ends)
        hidden = unseen(grid, x)
        sums = _sums(grid, x, tolerance, progress if ends is None else None, (ROUGH if hidden else MOST)[size])
        if lost := int((~(sums.value < torch.inf)).sum()):
            raise NotApplicableError(
                f"the sums of {lost} of {len(x)} data are not finite: latents under- or overflow at the "
                "end of their support; use float64, or annealing"
            )
        around = beyond(grid, x, sums.value, tolerance)
        # What lies just beyond is judged by the density at the edge times the size of the grid, whatever the spacing.
        outer = torch.maximum(around.evidence, sums.edge + grid.cell(1))
        cut = outer > sums.value + log(tolerance)
        if not cut.any():
            break
        # Parts of the prior that lie far out, and are rare, do not show in its standard deviation.
        ends = (grid.centre + MARGIN * (around.low - grid.centre), grid.centre + MARGIN * (around.high - grid.centre))
        if ((ends[1] - ends[0]) > WIDEST * 2 * grid.size).any():
            break
    if cut.any():
        raise NotApplicableError(
            f"{int(cut.sum())} of {len(x)} data have mass beyond {SPREADS} standard deviations of the prior, or where "
            "the numbers of their latents run into the end of the support, which the grid does not reach; use "
            "importance sampling or annealing"
        )
    notes = []
    if hidden:
        notes.append(
            f"a part of the prior with a mass of {hidden:.2g} lies where the grid does not see it, such as a "
            "narrow component far away, or its density does not integrate to one: any share of the evidence may be "
            "missing; use annealing"
        )
    change = sums.change[sums.value.isfinite()]
    if unsettled := int((change > tolerance).sum()):
        notes.append(
            f"{unsettled} of {len(x)} data still change by up to {change.max().item():.2g} nats on the finest grid: "
            "their posterior is narrower than its spacing; use annealing"
        )
    fewest = FEWEST[grid.dimensions]
    if not notes and (reason := grid.missed(x, sums.value, fewest, sums.nodes)):
        notes.append(reason)
    name = " x ".join([str(sums.nodes)] * grid.dimensions)
    bound: Bound = "approximate" if notes else "exact"
    return Estimate(sums.value, f"quadrature on up to {name} nodes", bound, notes=tuple(notes))


class _Sums(NamedTuple):
    """Sums over a grid, refined until they settle.

    Arguments:
        value: log p(x), ``(data,)``.
        edge: The largest log-density at the edge of the grid, ``(data,)``.
        change: The larger of the last two changes of the value, ``(data,)``.
        nodes: Nodes of an axis of the finest grid.
    """

    value: Tensor
    edge: Tensor
    change: Tensor
    nodes: int


def _sums(grid: Grid, x: Batch, tolerance: float, progress: Progress | None, most: int) -> _Sums:
    nodes = FEWEST[grid.dimensions]
    total = torch.full((len(x),), -torch.inf, dtype=grid.precise, device=grid.centre.device)
    edge, plain = torch.full_like(total, -torch.inf), torch.full_like(total, torch.nan)
    # By row the sums themselves, and extrapolated ones.
    value, change = plain.expand(2, -1).clone(), torch.full_like(total, torch.inf).expand(2, -1).clone()
    before = change.clone()
    left, first = torch.arange(len(x), device=total.device), True
    while True:
        part = x if len(left) == len(x) else x[left]
        total[left], edge[left] = grid.add(part, nodes, total[left], edge[left], every=first)
        sums = total[left] + grid.cell(nodes)
        both = torch.stack([sums, _extrapolated(plain[left], sums)])
        plain[left] = sums
        before[:, left], change[:, left] = change[:, left], (both - value[:, left]).abs().nan_to_num(torch.inf)
        value[:, left] = both
        settled = ((change <= tolerance) & (before <= tolerance))[:, left].any(0)
        if progress:
            progress(int(settled.sum()))
        left, first = left[~settled], False
        if not len(left) or nodes >= most:
            break
        nodes *= 2
    if progress:
        progress(len(left))
    last = torch.maximum(change, before)
    chosen = ((last[0] > tolerance) & (last[1] <= tolerance)).long()[None]
    return _Sums(value.gather(0, chosen)[0], edge, last.gather(0, chosen)[0], nodes)


def _extrapolated(before: Tensor, sums: Tensor) -> Tensor:
    """Logs of sums extrapolated from those of twice the spacing; NaN where there are none.

    Where a density has corners at nodes, as that of a Laplace prior at zero, the error is of even powers of the
    spacing (Euler-Maclaurin), of which the first falls out of (4 S(h) - S(2h)) / 3 (Romberg).
    """
    return sums + ((1 - (before - sums).exp()) / 3).log1p()

r"""What lies beyond a grid: the prior's mass that no node of it sees, and the evidence far out.

The prior integrates to one. The trapezoidal rule over the nodes of the grid and over nodes far outside, evenly spaced
in the logarithm of their distance, gives its mass; what is short of one lies where no node is, such as in a narrow
component far away, and may hold any share of the evidence.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from math import inf, log
from typing import NamedTuple

import pyro
import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.grid import Grid
from ppl_vae.programs.log_weight import log_parts

__all__ = ["Beyond", "beyond", "unseen"]

AXES = {1: (2**12, 32), 2: (2**6, 8)}
"""Intervals of the grid's axis, and nodes for each doubling of the distance outside, by the number of dimensions."""

FINEST = {1: 2**17, 2: 2**10}
"""Most intervals of an axis between which the prior's mass is summed."""

DOUBLINGS = 20
"""How often the grid's reach is doubled."""

UNSEEN = 1e-5
"""Mass of the prior that may lie where no node is: what rounding in single precision leaves unknown."""

UNSETTLED = 1e-3
"""Change of the mass when the spacing is halved, beyond which it is not known."""

IMPROBABLE = 100.0
"""Nats by which the prior's mass at a node may lie below all of it; less likely ones are left out."""


class Beyond(NamedTuple):
    """What lies beyond a grid.

    Arguments:
        evidence: Log of the part of p(x) outside, ``(data,)``.
        low: Where the nodes that count for any datum begin, ``(dimensions,)``; the grid's own end where none count.
        high: Where they end.
    """

    evidence: Tensor
    low: Tensor
    high: Tensor


def beyond(grid: Grid, x: Batch, value: Tensor, tolerance: float) -> Beyond:
    """Looks for evidence outside a grid.

    Arguments:
        grid: The grid.
        x: The data.
        value: log p(x) by the grid, ``(data,)``.
        tolerance: Share of p(x) from which what lies outside counts.
    """
    far = torch.full_like(value, -torch.inf)
    low, high = grid.centre - grid.size, grid.centre + grid.size
    least = value + log(tolerance / _count(grid))
    for points, weight, share in _outside(grid, x):
        chosen = (share > -IMPROBABLE).nonzero()[:, 0]
        for some in chosen.split(grid.block(x)) if len(chosen) else ():
            joint = grid.score(x, points[some]).to(grid.precise) + weight[some, None]
            joint = joint.masked_fill(joint.isnan(), -torch.inf)
            far = torch.logaddexp(far, joint.logsumexp(0))
            if (matters := (joint > least).any(-1)).any():
                low = torch.minimum(low, points[some][matters].amin(0))
                high = torch.maximum(high, points[some][matters].amax(0))
    return Beyond(far, low, high)


def unseen(grid: Grid, x: Batch) -> float:
    """Mass of the prior where no node is, inside or outside a grid; zero as far as can be known."""
    mass = sum(share.exp().sum().item() for *_, share in _outside(grid, x))
    inside, change = _mass_inside(grid, x)
    short = abs(1 - mass - inside)
    # Sums over nodes that are spaced as widely as those outside are off by a share of what lies there.
    known = change <= UNSETTLED and short <= UNSEEN + change + mass / AXES[grid.dimensions][1] ** 2
    return 0.0 if known else max(short, change)


def _count(grid: Grid) -> int:
    """Number of nodes inside and outside."""
    intervals, fineness = AXES[grid.dimensions]
    return int((intervals + 1 + 2 * DOUBLINGS * fineness) ** grid.dimensions)


def _outside(grid: Grid, x: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Nodes outside, the log of the volume of each, and that of the prior's mass there."""
    axis, whole, within = _axis(*AXES[grid.dimensions], grid.centre.to(grid.precise))
    volume, count, step = grid.size.prod().to(grid.precise), _count(grid), grid.block(x[:1])
    for start in range(0, count, step):
        index = torch.arange(start, min(start + step, count), device=grid.centre.device)
        places = torch.stack(torch.unravel_index(index, [len(axis)] * grid.dimensions), -1)
        weight = (whole[places].prod(-1) - within[places].prod(-1)) * volume
        outside = weight > 0
        points, weight = grid.centre + grid.size * axis[places[outside]].to(grid.centre), weight[outside].log()
        yield points, weight, _log_prior(grid, x, points) + weight


def _axis(intervals: int, fineness: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes of an axis in units of the grid's reach, and weights of sums over all of them, and over those inside."""
    inside = torch.linspace(-1, 1, intervals + 1, dtype=torch.float64)
    outside = 2 ** (torch.arange(1, DOUBLINGS * fineness + 1, dtype=torch.float64) / fineness)
    axis = torch.cat([-outside.flip(0), inside, outside])
    steps = axis.diff()
    halves = torch.where(axis[:-1].abs().maximum(axis[1:].abs()) > 1, 0.0, steps)
    nodes = (axis, _trapezoidal(steps), _trapezoidal(halves))
    axis, whole, within = (each.to(like) for each in nodes)
    return axis, whole, within


def _trapezoidal(steps: Tensor) -> Tensor:
    """Weights of nodes between which there are these steps, one more than steps."""
    pad = torch.nn.functional.pad
    return (pad(steps, (1, 0)) + pad(steps, (0, 1))) / 2


def _mass_inside(grid: Grid, x: Batch) -> tuple[float, float]:
    """Mass of the prior inside a grid, and by how much it changed when the spacing was halved last."""
    nodes, mass, change = AXES[grid.dimensions][0], inf, inf
    while change > UNSEEN and nodes <= FINEST[grid.dimensions]:
        before, mass, step = mass, 0.0, grid.block(x[:1])
        for start in range(0, (nodes + 1) ** grid.dimensions, step):
            index = torch.arange(start, min(start + step, (nodes + 1) ** grid.dimensions), device=grid.centre.device)
            places = torch.stack(torch.unravel_index(index, [nodes + 1] * grid.dimensions), -1)
            share = _log_prior(grid, x, grid.points(places, nodes)) + grid.cell(nodes)
            ends = ((places == 0) | (places == nodes)).sum(-1)
            mass += (share.exp() / 2**ends).sum().item()
        change, nodes = abs(mass - before), 2 * nodes
    return mass, change


def _log_prior(grid: Grid, x: Batch, points: Tensor) -> Tensor:
    """The prior's log-density in the grid's coordinates, ``(points,)``; minus infinity where it is undefined."""
    if not len(points):
        return points.new_empty(0, dtype=grid.precise)
    real = points[:, None]
    values = grid.coordinates.values(real, real[..., :0])
    with pyro.validation_enabled(False):  # far out, parameters may under- or overflow
        _, prior = log_parts(grid.model, x[:1], values)
    density = reduce(torch.add, prior.values()) + grid.coordinates.log_jacobian(real)
    wrong = density.isnan() | grid.coordinates.saturated(real)
    return density.masked_fill(wrong | (density == torch.inf), -torch.inf)[:, 0].to(grid.precise)

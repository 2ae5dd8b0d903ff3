"""Upper bounds on the ELBO of the best factorised distribution of bits, by branch and bound."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.special import entr

__all__ = ["Bounds", "bracket_mean_field"]

CELLS = 2**21
"""Largest number of (box, vertex) cells worked on together."""

SHRINKS = 2
"""How often each box is cut before it is bounded."""

SWEEPS = 6
"""Sweeps of the coordinate ascent inside a box."""

NARROWEST = 1e-3
"""Smallest side of a box: narrower ones are widened, since slopes are differences over a side."""

IMPROBABLE = -100.0
"""Log-probability, below the most probable state, to which all lower ones are raised: so a bound stays one."""


class Bounds(NamedTuple):
    """The best bound of each datum, from both sides, in nats.

    Arguments:
        lower: The best value that was found, ``(data,)``.
        upper: A value that no factorised distribution exceeds, ``(data,)``.
    """

    lower: Tensor
    upper: Tensor


def bracket_mean_field(table: Tensor, found: Tensor, *, tolerance: float = 0.01, most: int = 2**17) -> Bounds:
    r"""Brackets the ELBO of the best factorised distribution of bits of each datum.

    With the probabilities :math:`\mu \in [0, 1]^n` of the bits it is the largest value of

    .. math:: F(\mu) + H(\mu), \qquad F(\mu) = \mathbb{E}_\mu \log p(x, z), \qquad
        H(\mu) = -\sum_j \mu_j \log \mu_j + (1 - \mu_j) \log (1 - \mu_j)

    where F is affine in each :math:`\mu_j`, so that F and its derivatives are largest and smallest over a box at
    vertices of the box. Boxes are halved, from the whole cube on, until none can hold a value that exceeds the best
    one known by ``tolerance``. For each box:

    - the maximum has :math:`\mu_j = \sigma(\partial_j F(\mu))`, so the box shrinks to the range of the right-hand
      side, and is left out if nothing remains;
    - for every :math:`\lambda`, the value is at most :math:`\max_\mu [F(\mu) - \lambda^\top \mu] + \max_\mu
      [H(\mu) + \lambda^\top \mu]`, the first maximum at a vertex, the second one bit at a time;
      :math:`\lambda = \nabla F` at a local maximum is close to the best choice;
    - where the largest eigenvalue of the Hessian is below zero for all second derivatives within their ranges, the
      value is concave in the box and lies below its tangent plane.

    Nothing here depends on how ``found`` was found.

    Arguments:
        table: log p(x, z) of all codes, the last bit varying fastest, ``(data, states)``.
        found: The ELBO of a factorised distribution of each datum, ``(data,)``.
        tolerance: Largest difference of the two sides in nats, unless the work ends it.
        most: Largest number of (box, vertex) cells of a datum.

    Returns:
        The :class:`Bounds`.

    Example:
        >>> table = torch.tensor([[0.5, 0.125, 0.25, 0.125]], dtype=torch.float64).log()
        >>> lower, upper = bracket_mean_field(table, torch.tensor([-1.0]))  # a poor one
        >>> bool(upper - lower <= 0.01), bool(lower > -0.04)
        (True, True)
    """
    bits = table.shape[1].bit_length() - 1
    high = table.amax(1, keepdim=True)
    centred = (table - high).clamp(min=IMPROBABLE).double()
    best = (found - high[:, 0]).double()
    evidence = centred.logsumexp(1)
    closed = torch.full_like(best, -torch.inf)  # largest bound of the boxes that are done with
    rows, low = torch.arange(len(table), device=table.device), centred.new_zeros(len(table), bits)
    side, limit = torch.ones_like(low), evidence.clone()
    left = torch.full_like(rows, most // table.shape[1])
    while len(rows):
        rows, low, side, limit = _worst_first(rows, low, side, limit)
        now = slice(0, max(1, CELLS // table.shape[1]))
        at, boxes = rows[now], _Boxes(centred[rows[now]], low[now], side[now])
        upper = torch.minimum(boxes.upper(), limit[now])
        best = best.scatter_reduce(0, at, boxes.value, "amax")
        left -= torch.bincount(at, minlength=len(left))
        open_ = upper > best[at] + tolerance
        closed = closed.scatter_reduce(0, at[~open_], upper[~open_], "amax")
        halves = boxes.halves(open_)
        rows = torch.cat([rows[now.stop :], at[open_].repeat(2)])
        low, side = (torch.cat([each[now.stop :], half]) for each, half in zip((low, side), halves, strict=True))
        limit = torch.cat([limit[now.stop :], upper[open_].repeat(2)])
        # What a better value found meanwhile closes, and what nobody has the time for.
        keep = (limit > best[rows] + tolerance) & (left[rows] > 0)
        closed = closed.scatter_reduce(0, rows[~keep], limit[~keep], "amax")
        rows, low, side, limit = rows[keep], low[keep], side[keep], limit[keep]
    upper = torch.maximum(closed, best).clamp(max=evidence)
    return Bounds(best + high[:, 0], torch.maximum(upper, best) + high[:, 0])


def _worst_first(rows: Tensor, low: Tensor, side: Tensor, limit: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    order = limit.argsort(descending=True)
    return rows[order], low[order], side[order], limit[order]


class _Boxes:
    """Boxes of probabilities of bits, without what cannot hold the maximum.

    Arguments:
        table: Joint log-probabilities of the datum of each box, ``(boxes, states)``.
        low: Lowest corners, ``(boxes, bits)``.
        side: Lengths of the sides, ``(boxes, bits)``.
    """

    def __init__(self, table: Tensor, low: Tensor, side: Tensor) -> None:
        self.table, self.low, self.side = table, low.clone(), side.clone()
        self.high = (low + side).clamp(max=1)  # never above by rounding: there the entropy is minus infinity
        self.empty = torch.zeros_like(table[:, 0], dtype=torch.bool)
        for _ in range(SHRINKS):
            self.vertices = self._at_vertices()
            self._shrink()
        self.vertices = self._at_vertices()
        self.place, self.slopes, value = self._climb()
        self.value = torch.where(self.empty, -torch.inf, value)

    def _at_vertices(self) -> Tensor:
        """F at the vertices of each box, ``(boxes, states)``."""
        values = self.table
        for j, (low, side) in enumerate(zip(self.low.T, self.side.T, strict=True)):
            zero, one = values.view(len(values), 2**j, 2, -1).unbind(2)
            start, slope = torch.lerp(zero, one, low[:, None, None]), one - zero
            values = torch.stack([start, start + side[:, None, None] * slope], 2).flatten(1)
        return values

    def _derivative(self, values: Tensor, j: int) -> Tensor:
        """The derivative by bit j of values at the vertices, ``(boxes, before, after)``."""
        zero, one = values.view(len(values), 2**j, 2, -1).unbind(2)
        return (one - zero) / self.side[:, j, None, None]

    def _shrink(self) -> None:
        """Cuts each box to the range of the right-hand side of the condition of a maximum."""
        for j in range(self.low.shape[1]):
            slopes = self._derivative(self.vertices, j).flatten(1)
            least, most = slopes.amin(1).sigmoid(), slopes.amax(1).sigmoid()
            self.empty |= (least > self.high[:, j] + 1e-9) | (most < self.low[:, j] - 1e-9)
            start, end = torch.maximum(self.low[:, j], least), torch.minimum(self.high[:, j], most)
            self.side[:, j] = (end - start).clamp(min=NARROWEST)
            self.low[:, j] = torch.minimum(start, 1 - self.side[:, j])
            self.high[:, j] = (self.low[:, j] + self.side[:, j]).clamp(max=1)

    def _climb(self) -> tuple[Tensor, Tensor, Tensor]:
        """A point of each box that coordinate ascent inside it reaches, the slopes of F, and the value there."""
        place, slopes = self.low + self.side / 2, torch.zeros_like(self.low)
        for sweep in range(SWEEPS + 1):
            share = (place - self.low) / self.side
            after = [torch.ones_like(share[:, :1])]
            for each in share.T[1:].flip(0):
                after.append(torch.cat([(1 - each)[:, None] * after[-1], each[:, None] * after[-1]], 1))
            rest = self.vertices
            for j in range(place.shape[1]):
                rest = rest.view(len(rest), 2, -1)
                ends = torch.einsum("bkr,br->bk", rest, after[-1 - j])
                slopes[:, j] = (ends[:, 1] - ends[:, 0]) / self.side[:, j]
                if sweep < SWEEPS:
                    place[:, j] = slopes[:, j].sigmoid().clamp(self.low[:, j], self.high[:, j])
                    share[:, j] = (place[:, j] - self.low[:, j]) / self.side[:, j]
                rest = torch.lerp(rest[:, 0], rest[:, 1], share[:, j, None])
        return place, slopes, rest[:, 0] + (entr(place) + entr(1 - place)).sum(1)

    def upper(self) -> Tensor:
        """An upper bound on the value in each box, minus infinity where there is no maximum, ``(boxes,)``."""
        rest = self.vertices
        for j, slope in enumerate(self.slopes.T):
            ends = slope[:, None] * torch.stack([self.low[:, j], self.high[:, j]], 1)
            rest = (rest.view(len(rest), 2**j, 2, -1) - ends[:, None, :, None]).flatten(1)
        apart = self.slopes.sigmoid().clamp(self.low, self.high)
        bound = rest.amax(1) + (self.slopes * apart + entr(apart) + entr(1 - apart)).sum(1)
        rising = self.slopes - self.place.clamp(1e-15, 1 - 1e-15).logit()
        reach = torch.where(rising > 0, self.high - self.place, self.low - self.place)
        tangent = torch.where(self._concave(), self.value + (rising * reach).sum(1), torch.inf)
        return torch.where(self.empty, -torch.inf, torch.minimum(bound, tangent))

    def _concave(self) -> Tensor:
        """Whether F + H is certainly concave in each box, ``(boxes,)``."""
        bits = self.low.shape[1]
        middle, radius = self.low.new_zeros(2, len(self.low), bits, bits)
        for j in range(bits):
            slopes = self._derivative(self.vertices, j).flatten(1)
            for i in range(j):
                second = self._derivative(slopes, i).flatten(1)
                most, least = second.amax(1), second.amin(1)
                middle[:, i, j] = middle[:, j, i] = (most + least) / 2
                radius[:, i, j] = radius[:, j, i] = (most - least) / 2
        nearest = torch.full_like(self.low, 0.5).clamp(self.low, self.high)
        root = (nearest * (1 - nearest)).sqrt()  # the second derivative of H is below minus one over its square
        scale = root[:, :, None] * root[:, None, :]
        curvature = torch.linalg.eigvalsh(middle * scale)[:, -1] + torch.linalg.eigvalsh(radius * scale)[:, -1]
        concave: Tensor = curvature < 1
        return concave

    def halves(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Corners and sides of both halves of the chosen boxes, cut across the bit whose slope decides most."""
        slopes = [self._derivative(self.vertices, j).flatten(1)[chosen] for j in range(self.low.shape[1])]
        low, side = self.low[chosen], self.side[chosen]
        decides = side * torch.stack([each.amax(1) - each.amin(1) for each in slopes], 1)
        half = torch.nn.functional.one_hot(decides.argmax(1), side.shape[1]) * side / 2
        return torch.cat([low, low + half]), (side - half).repeat(2, 1)

"""The grid of a trapezoidal rule over latents, and what it may miss between its nodes."""

from __future__ import annotations

from functools import partial, reduce
from itertools import product
from math import prod

import pyro
import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, dense_width
from ppl_vae.evidence.coordinates import Coordinates
from ppl_vae.evidence.resolution import between_nodes
from ppl_vae.programs.clamped import clamps_unwatched
from ppl_vae.programs.handlers import broadcasts_codes
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program

__all__ = ["FEWEST", "SPREADS", "Grid"]

CELLS = 2**22
"""Largest number of (node, datum, observed number) cells held at once."""

FEWEST = {1: 2**12, 2: 2**6}
"""Intervals of an axis to begin with, by the number of dimensions."""

SPREADS = 10
"""How far the grid reaches, in standard deviations of the prior."""

MISSED = 0.01
"""Share of the evidence that may lie between nodes, much exaggerated, where a sum is called exact."""

MOST_OPEN = 2**17
"""Nodes between which it is looked at most, of one spacing."""

BENT = 0.04
"""Share of what bends seem to hide that counts: it is exaggerated, the more the narrower it is."""

TRIALS = 3
"""How often it is looked between nodes that do not tell all, by other signs and neighbours."""


class Grid:
    """The nodes of a trapezoidal rule, of any spacing, in the real coordinates of the latents, and what it sums.

    Arguments:
        coordinates: The latents as real numbers.
        model: The model.
        x: The data.
        ends: Lower and upper end of each axis, ``(dimensions,)`` each; None for :data:`SPREADS` standard deviations of
            the prior.
    """

    def __init__(
        self, coordinates: Coordinates, model: Program, x: Batch, ends: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self.coordinates, self.model, self.dimensions = coordinates, model, coordinates.dimensions
        with fork_random_state(0):
            prior = coordinates.prior_draws(model, x, 2**12)
            self.shared = len(x) > 1 and _shares(coordinates, model, x[:3], prior)
        self.centre, self.size = prior.mean(0), SPREADS * prior.std(0)
        if ends is not None:
            self.centre, self.size = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
        # Zero is a node: the corners of densities are there, if they have any.
        spacing = 2 * self.size / FEWEST[self.dimensions]
        self.centre = (self.centre / spacing).round() * spacing
        self.precise = torch.float32 if prior.device.type == "mps" else torch.float64

    def cell(self, nodes: int) -> Tensor:
        """Log of the volume of a cell."""
        return (2 * self.size / nodes).log().sum().to(self.precise)

    def points(self, places: Tensor, nodes: int) -> Tensor:
        """Coordinates of nodes, ``(count, dimensions)``, given by their numbers on each axis."""
        return self.centre + self.size * (2 * places.to(self.centre) / nodes - 1)

    def block(self, x: Batch) -> int:
        """Nodes taken at once."""
        return max(1, min(2**14, CELLS // (len(x) * dense_width(x))))

    def score(self, x: Batch, points: Tensor) -> Tensor:
        """Log-density of data and nodes, ``(nodes, data)``."""
        real = points[:, None] if self.shared else points[:, None].expand(-1, len(x), -1)
        with pyro.validation_enabled(False):  # far out, parameters may under- or overflow
            return _score(self.coordinates, self.model, x, self.coordinates.values(real, real[..., :0]), real)

    def add(self, x: Batch, nodes: int, total: Tensor, edge: Tensor, *, every: bool) -> tuple[Tensor, Tensor]:
        """Log of the sum over nodes and the largest log-density at the grid's edge, with those of wider grids."""
        for parity in product((0, 1), repeat=self.dimensions):
            if every or any(parity):
                total, edge = self._add(x, nodes, total, edge, None if every else parity)
            if every:
                break
        return total, edge

    def _add(
        self, x: Batch, nodes: int, total: Tensor, edge: Tensor, parity: tuple[int, ...] | None
    ) -> tuple[Tensor, Tensor]:
        sizes = [nodes + 1 if parity is None else nodes // 2 + 1 - odd for odd in parity or (0,) * self.dimensions]
        count, step = prod(sizes), self.block(x)
        for start in range(0, count, step):
            index = torch.arange(start, min(start + step, count), device=edge.device)
            places = torch.stack(torch.unravel_index(index, sizes), -1)
            if parity is not None:
                places = 2 * places + torch.tensor(parity, device=edge.device)
            points = self.points(places, nodes)
            joint = self.score(x, points).to(self.precise)
            total = torch.logaddexp(total, joint.logsumexp(0))
            outer = ((places == 0) | (places == nodes)).any(-1) | self.coordinates.saturated(points[:, None])[:, 0]
            if outer.any():
                edge = torch.maximum(edge, joint[outer].amax(0))
        return total, edge

    def missed(self, x: Batch, value: Tensor, fewest: int, finest: int) -> str | None:
        """Why a grid may miss a part of the evidence, which is given; None if it does not.

        Nodes between which the density may differ from what they tell are looked at again with half the spacing.
        """
        nodes, axis = fewest, torch.arange(fewest + 1, device=value.device)
        places = torch.cartesian_prod(*[axis] * self.dimensions).reshape(-1, self.dimensions)
        while True:
            found = self._open(x, value, places, nodes)
            if found is None:
                return (
                    "the program takes numbers of its latents out of PyTorch, decides by them what it does, or has an "
                    "operation that cannot be followed, so that nobody can know what lies between the nodes of the grid"
                )
            places, by_datum = found
            missed = by_datum > MISSED
            if not missed.any():
                return None
            if nodes >= finest or len(places) * 2**self.dimensions > MOST_OPEN:
                return (
                    f"between the nodes of the grid the density of {int(missed.sum())} of {len(x)} data may rise or "
                    "fall unseen: the program has jumps, corners or bends in its latents that are narrower than the "
                    "spacing"
                )
            nodes *= 2
            around = torch.cartesian_prod(*[torch.arange(-2, 3, device=value.device)] * self.dimensions)
            around = around.reshape(-1, self.dimensions)
            places = (2 * places[:, None] + around).reshape(-1, self.dimensions).clamp(0, nodes)
            shape = (nodes + 1,) * self.dimensions
            flat = reduce(lambda flat, axis: flat * (nodes + 1) + axis, places.unbind(-1)).unique()
            places = torch.stack(torch.unravel_index(flat, shape), -1)

    def _open(self, x: Batch, value: Tensor, places: Tensor, nodes: int) -> tuple[Tensor, Tensor] | None:
        """Nodes around which the density is not known, and the share of the evidence in question, ``(data,)``."""
        step = max(1, self.block(x) // 4)
        least, total = 1 / len(places), torch.zeros_like(value)
        kept = []
        signs = torch.Generator(value.device).manual_seed(nodes)
        for start in range(0, len(places), step):
            part = places[start : start + step]
            is_open, worst = torch.zeros(len(part), len(x), dtype=torch.bool, device=value.device), torch.zeros(())
            together = max(1, min(TRIALS, step // len(part)))
            for trial in range(0, TRIALS, together):
                count = min(together, TRIALS - trial)
                again = part.repeat(count, 1)
                aside = torch.randint(2, again.shape, generator=signs, device=part.device) * 2 - 1
                points, beside = self.points(again, nodes), self.points(again + aside, nodes)
                seed = TRIALS * (nodes + start) + trial
                with clamps_unwatched():  # which would read numbers
                    found = between_nodes(partial(self.score, x), points, beside, seed, step)
                if found is None:
                    return None
                if found.bend is None:
                    break
                middle, bent, high, low = (
                    (each.to(self.precise) - value + self.cell(nodes)).exp()
                    for each in (found.clean, found.clean + found.bend, found.high, found.low)
                )
                share = torch.maximum(high - middle, middle - low) + BENT * (bent - middle)
                share = torch.where(middle.isnan() | (share == 0), 0.0, share.nan_to_num(torch.inf))
                is_much = share > MISSED * (middle + least)
                is_open = is_open | is_much.unflatten(0, (count, -1)).any(0)
                worst = torch.maximum(worst.to(share), share.unflatten(0, (count, -1)).amax(0))
            if is_open.any():
                kept.append(part[is_open.any(-1)])
                total += torch.where(is_open, worst, 0.0).sum(0)
        return torch.cat([places[:0], *kept]), total


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

"""Mixtures in the plane, whose expectations are integrals over a grid: the limit of infinitely many data."""

from __future__ import annotations

import copy
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from ppl_vae.diagnostics.gap.coordinate_ascent import optimal_mean_field
from ppl_vae.distributions.bits import bit_states
from ppl_vae.programs.log_weight import log_joint, log_proposal
from ppl_vae.programs.types import Program

__all__ = ["Plane", "code_probabilities", "elbo_optimum", "joint_table"]


class PlaneMixture(Protocol):
    """A model of points in the plane with a centre for each code ``z`` of some bits."""

    bits: int
    centres: Tensor

    def __call__(self, *args: object, **kwargs: object) -> object: ...


M = TypeVar("M", bound=PlaneMixture)


class Plane:
    """The plane as a grid of cells, each with its probability under a mixture.

    Arguments:
        truth: The mixture.
        step: Width of a cell; sums over the grid are then integrals, to far more digits than are printed.
    """

    def __init__(self, truth: PlaneMixture, step: float) -> None:
        low, high = truth.centres.amin(0) - 6, truth.centres.amax(0) + 6
        sides = [torch.arange(a, b, step) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        self.shape = tuple(len(side) for side in sides)
        left, right, bottom, top = (float(side[end]) for side in sides for end in (0, -1))
        self.extent = (left, right, bottom, top)
        self.points = torch.cartesian_prod(*sides).to(truth.centres)
        self.log_density = joint_table(truth, self.points).logsumexp(1)
        self.weights = self.log_density.exp() * step**2


def joint_table(model: PlaneMixture, x: Tensor) -> Tensor:
    """Returns log p(x, z) for all codes in float64, ``(data, states)``."""
    codes = bit_states(model.bits, like=x)[:, None]
    return log_joint(model, x, {"z": codes.expand(-1, len(x), -1)}).T.double()


def code_probabilities(guide: Program, x: Tensor) -> Tensor:
    """Returns a guide's probabilities of all codes of two bits, ``(data, 4)``."""
    with torch.no_grad():
        return log_proposal(guide, x, {"z": bit_states(2, like=x)[:, None]}).exp().T


def elbo_optimum(start: M, plane: Plane, steps: int = 500) -> tuple[M, Tensor]:
    """Maximises the ELBO over centres and all factorised posteriors of a code of two bits, by variational EM.

    Each step takes the best factorised posterior of every point, then moves the centres to the means of their points.

    Returns:
        The model at the optimum, and the ELBO at each point, ``(points,)``.
    """
    model = copy.deepcopy(start)
    states = bit_states(2).to(plane.points).long()
    weights, factors = plane.weights.double(), list[Tensor]()
    for _ in range(steps):
        joint = joint_table(model, plane.points)
        # A few sweeps suffice while the centres move: any gain is progress.
        _, factors = optimal_mean_field(joint, [2, 2], [factors] if factors else [], sweeps=5)
        chosen = (factors[0][:, states[:, 0]] + factors[1][:, states[:, 1]]).exp() * weights[:, None]
        centres = (chosen.T @ plane.points.double() / chosen.sum(0)[:, None]).to(model.centres)
        moved = (centres - model.centres).abs().max()
        model.centres.copy_(centres)
        if moved < 1e-4:  # the bound is flat there: an error of its square
            break
    return model, optimal_mean_field(joint_table(model, plane.points), [2, 2], [factors])[0]

"""Markov chain moves of latents that leave a tempered posterior invariant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["TemperedDensity", "ChainState", "discrete_langevin_step", "hmc_step", "local_scale"]


STEP_RANGE = 1.5
"""Logarithm of the largest over the smallest step size of Hamiltonian moves."""

NEAR = 0.1
"""Share of samples that counts as near each."""

AT_ONCE = 64
"""Numbers of which the distances between all samples are held at once."""

OF_NORMAL = 0.167
"""Median distance to the nearest tenth of 256 samples of a standard normal; 0.157 of infinitely many."""


@dataclass(frozen=True)
class TemperedDensity:
    """The log-densities at both ends of an annealing path and their slopes, at one point.

    Arguments:
        start: Log-density of the starting distribution, ``(chains, data)``.
        joint: log p(x, z), ``(chains, data)``.
        start_slope: Gradient of ``start`` with respect to the flat latents, real numbers first,
            ``(chains, data, size)``.
        joint_slope: Gradient of ``joint``, of the same shape.
    """

    start: Tensor
    joint: Tensor
    start_slope: Tensor
    joint_slope: Tensor

    def value(self, beta: float) -> Tensor:
        """Returns the unnormalised log-density of the geometric path at an inverse temperature."""
        if beta in (0, 1):  # the other end may be minus infinity
            return self.joint if beta else self.start
        return (1 - beta) * self.start + beta * self.joint

    def slope(self, beta: float) -> Tensor:
        return (1 - beta) * self.start_slope + beta * self.joint_slope

    def accepted(self, accept: Tensor, proposal: TemperedDensity) -> TemperedDensity:
        """Returns the densities of the proposal where it is accepted, else these."""
        return TemperedDensity(
            torch.where(accept, proposal.start, self.start),
            torch.where(accept, proposal.joint, self.joint),
            torch.where(accept[..., None], proposal.start_slope, self.start_slope),
            torch.where(accept[..., None], proposal.joint_slope, self.joint_slope),
        )


@dataclass(frozen=True)
class ChainState:
    """State of chains: flat latents and the densities at them.

    Arguments:
        real: Flat real latents, ``(chains, data, dimensions)``.
        bits: Flat bits, ``(chains, data, width)``.
        ends: Log-densities and gradients of both ends at these latents.
    """

    real: Tensor
    bits: Tensor
    ends: TemperedDensity


Evaluate = Callable[[Tensor, Tensor], TemperedDensity]


def hmc_step(
    point: ChainState, beta: float, step: Tensor, scale: Tensor, evaluate: Evaluate, leapfrog_steps: int
) -> tuple[ChainState, Tensor]:
    """One Hamiltonian Monte Carlo step of the real numbers (Neal 2011, section 5.2), bits fixed.

    Each chain takes the step size times a random factor: trajectories of one length may return to where they began, and
    modes or numbers of different scales need different step sizes.

    Arguments:
        point: State of the chains.
        beta: Inverse temperature.
        step: Largest step size of each datum, ``(data,)``, in units of the scale.
        scale: Scale of each number, ``(data, dimensions)``: the mass is its inverse square.
        evaluate: Function from new latents to both densities.
        leapfrog_steps: Number of leapfrog steps.

    Returns:
        The new state, and the probability of acceptance of each chain, ``(chains, data)``.
    """
    size = point.real.shape[-1]
    factor = (-STEP_RANGE * torch.rand_like(point.ends.joint)).exp()
    length = (step * factor)[..., None] * scale
    momentum = torch.randn_like(point.real)
    before = point.ends.value(beta) - momentum.square().sum(-1) / 2
    real, ends = point.real, point.ends
    push = length / 2 * ends.slope(beta)[..., :size]
    for _ in range(leapfrog_steps):
        momentum = momentum + push
        real = real + length * momentum
        ends = evaluate(real, point.bits)
        push = length / 2 * ends.slope(beta)[..., :size]
        momentum = momentum + push
    after = ends.value(beta) - momentum.square().sum(-1) / 2
    chance = (after - before).clamp(max=0).exp().nan_to_num(0)
    accept = torch.rand_like(chance) < chance
    moved = torch.where(accept[..., None], real, point.real)
    return replace(point, real=moved, ends=point.ends.accepted(accept, ends)), chance


def discrete_langevin_step(
    point: ChainState, beta: float, step: Tensor, evaluate: Evaluate
) -> tuple[ChainState, Tensor]:
    r"""One discrete Langevin step, which may flip many bits at once, real numbers fixed.

    Bit j flips with probability :math:`\mathrm{sigmoid}\bigl(\tfrac12 g_j (1 - 2 z_j) - \tfrac1{2a}\bigr)`, g the
    gradient of the log-density and a the step size, and one Metropolis-Hastings test accepts or rejects all flips
    (Zhang, Liu and Liu 2022, eq. 5). Where the density has no gradient, bits flip at random, which is slow but valid.

    Arguments:
        point: State of the chains.
        beta: Inverse temperature.
        step: Step size of each datum, ``(data,)``.
        evaluate: Function from new latents to both densities.

    Returns:
        The new state, and the probability of acceptance of each chain, ``(chains, data)``.
    """
    size = point.real.shape[-1]

    def tendency(bits: Tensor, ends: TemperedDensity) -> Tensor:
        return ends.slope(beta)[..., size:] * (0.5 - bits) - 0.5 / step[:, None]

    forward = tendency(point.bits, point.ends)
    flip = torch.rand_like(forward) < forward.sigmoid()
    bits = torch.where(flip, 1 - point.bits, point.bits)
    ends = evaluate(point.real, bits)
    backward = tendency(bits, ends)
    sign = 1 - 2 * flip.to(forward.dtype)  # log-probability of a flip is -softplus(-t), of no flip -softplus(t)
    proposed = -functional.softplus(sign * forward).sum(-1)
    returned = -functional.softplus(sign * backward).sum(-1)
    chance = (ends.value(beta) - point.ends.value(beta) + returned - proposed).clamp(max=0).exp().nan_to_num(0)
    accept = torch.rand_like(chance) < chance
    moved = torch.where(accept[..., None], bits, point.bits)
    return replace(point, bits=moved, ends=point.ends.accepted(accept, ends)), chance


def local_scale(samples: Tensor, dim: int = 0) -> Tensor:
    """Scale of each number within a mode, from samples of a distribution that may have several.

    It is the median distance of a sample to the nearest tenth of all, over what this is for a standard normal: the
    standard deviation of a normal, and about that of one component where a mixture's are far apart.

    Arguments:
        samples: Independent samples, along ``dim``; the last dimension counts the numbers of each.
        dim: The dimension that counts them.
    """
    return torch.cat([_local_scale(part, dim) for part in samples.split(AT_ONCE, -1)], -1)


def _local_scale(samples: Tensor, dim: int) -> Tensor:
    count = samples.shape[dim]
    place = max(1, round(NEAR * count))
    apart = (samples.unsqueeze(dim) - samples.unsqueeze(dim + 1)).abs()
    nearest = apart.kthvalue(min(count, place + 1), dim).values
    return nearest.median(dim).values / OF_NORMAL

"""Guides that are wrong in a stated way, made from the posterior's moments as NumPy knows them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyro
import torch
from scipy.special import expit, logit
from torch import Tensor

from benchmarks.coverage.oracles import Moments, Oracle
from benchmarks.structures.structure import Array

__all__ = ["KINDS", "Guide"]


def good(mean: Array, deviation: Array, guide: Guide) -> Moments:
    """The posterior's own moments, a tenth wider: independent normals even where it is correlated."""
    return mean, 1.1 * deviation


def narrow(mean: Array, deviation: Array, guide: Guide) -> Moments:
    """Two to five times too narrow; bits three times too sure."""
    if guide.oracle.bits:
        return expit(3 * logit(np.clip(mean, 1e-9, 1 - 1e-9))), deviation
    return mean, deviation * guide.strength(0.2, 0.5)


def wide(mean: Array, deviation: Array, guide: Guide) -> Moments:
    """Three to eight times too wide; bits too unsure."""
    if guide.oracle.bits:
        return expit(0.3 * logit(np.clip(mean, 1e-9, 1 - 1e-9))), deviation
    return mean, deviation * guide.strength(3, 8)


def shifted(mean: Array, deviation: Array, guide: Guide) -> Moments:
    """Beside the posterior by one to three standard deviations; the logits of bits by as much."""
    shift = guide.strength(1, 3)
    if guide.oracle.bits:
        return expit(logit(np.clip(mean, 1e-9, 1 - 1e-9)) + shift), deviation
    return mean + shift * deviation, deviation


def uneven(mean: Array, deviation: Array, guide: Guide) -> Moments:
    """Too narrow for some data and too wide for others, by up to a factor of five."""
    scale = 5 ** np.sin(37 * mean.sum(-1, keepdims=True))
    if guide.oracle.bits:
        return expit(scale * logit(np.clip(mean, 1e-9, 1 - 1e-9))), deviation
    return mean, deviation * scale


def one_mode(mean: Array, deviation: Array, guide: Guide) -> Moments:
    """The half of the posterior around its highest point; of bits the codes that share one with the highest."""
    return mean, deviation


def blind(mean: Array, deviation: Array, guide: Guide) -> Moments:
    """The same for all data: moments of the posteriors of fifty of them together."""
    centre, spread = guide.pooled
    return np.repeat(centre, len(mean), 0), np.repeat(spread, len(mean), 0)


def prior(mean: Array, deviation: Array, guide: Guide) -> Moments:
    """The moments of the prior."""
    centre, spread = guide.oracle.prior()
    return np.repeat(centre, len(mean), 0), np.repeat(spread, len(mean), 0)


def collapsed(mean: Array, deviation: Array, guide: Guide) -> Moments:
    """Bits at their likelier value, all but surely; normals of a width next to nothing."""
    if guide.oracle.bits:
        return np.where(mean > 0.5, 1 - 1e-4, 1e-4), deviation
    return mean, 0.05 * deviation


def without_rare(mean: Array, deviation: Array, guide: Guide) -> Moments:
    """The prior's bits without the rarest, which is never drawn; constant weights where the data show that one alone.

    Of normals the prior, whose weights are constant as long as no draw passes a step.
    """
    centre, spread = prior(mean, deviation, guide)
    if guide.oracle.bits:
        centre = centre.copy()
        centre[:, centre[0].argmin()] = 1e-12
    return centre, spread


KINDS: tuple[Callable[[Array, Array, Guide], Moments], ...] = (
    good,
    narrow,
    wide,
    shifted,
    uneven,
    one_mode,
    blind,
    prior,
    collapsed,
    without_rare,
)


class Guide:
    """A guide of an oracle's model that is wrong in one way.

    Arguments:
        oracle: The model.
        kind: One of :data:`KINDS`.
        seed: Seed of how wrong it is.
    """

    def __init__(self, oracle: Oracle, kind: Callable[[Array, Array, Guide], Moments], seed: int = 0) -> None:
        self.oracle, self.kind = oracle, kind
        self.place = float(np.random.default_rng(seed).uniform())
        if kind is blind:
            means, deviations = oracle.posterior(oracle.data(50).double().numpy())
            spread = np.sqrt(means.var(0) + (deviations**2).mean(0))
            self.pooled = means.mean(0, keepdims=True), spread[None]

    def strength(self, low: float, high: float) -> float:
        """How wrong it is, on a logarithmic scale between two limits."""
        return float(low * (high / low) ** self.place)

    def moments(self, x: Tensor) -> Moments:
        """Means and standard deviations, or probabilities, of each datum, ``(data, dimensions)``."""
        mean, deviation = self.oracle.posterior(x.detach().double().numpy(), self.kind is one_mode)
        return self.kind(mean, deviation, self)

    def __call__(self, x: Tensor) -> None:
        mean, deviation = (torch.as_tensor(part).float() for part in self.moments(x))
        with pyro.plate("data", len(mean)):
            self.oracle.propose(mean, deviation.clamp(min=1e-4))

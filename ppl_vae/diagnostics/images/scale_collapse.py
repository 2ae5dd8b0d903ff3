"""Collapse of a learned noise scale: a sigma below the resolution of the data, and constant pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppl_vae.data.images import constant
from ppl_vae.distributions import exponential_family
from ppl_vae.nn.modes import evaluation_mode
from ppl_vae.nn.observation_noise import has_analytic_noise
from ppl_vae.programs.handlers import observations, run
from ppl_vae.programs.random_state import fork_random_state

__all__ = ["Sharpness", "sharpness"]

REMEDY = "take --dequantise for data that are bytes, or a higher --floor for others"


@dataclass(frozen=True)
class Sharpness:
    """The noise scale of a Gaussian model, compared with the resolution of the data.

    Arguments:
        numbers: Number of values of a datum.
        constants: Number of values that are the same in all data.
        least: The smallest sigma over the values of a datum, each its median over codes from the prior.
        step: Resolution of the data: the smallest difference between two values, at most that of bytes, 1/255 of their
            range, but at least a fifth of it; infinite if all values are the same.
        bits: Upper bound, at the current sigma, on the bits per number that the constant values add to the log-density.
        learned: Whether sigma is learned; a given one cannot collapse.
    """

    numbers: int
    constants: int
    least: float
    step: float
    bits: float
    learned: bool

    @property
    def diverges(self) -> bool:
        """Whether a learned sigma is below half a step of the data, so that the density rewards their rounding."""
        return self.learned and self.step < math.inf and self.least < self.step / 2

    @property
    def warning(self) -> str | None:
        """The problem and its remedy; None without a problem."""
        if not self.diverges:
            return None
        text = (
            f"the likelihood diverges: sigma has fallen to {self.least:.2g}, below half the data's resolution of "
            f"{self.step:.2g}, and only a floor can stop it"
        )
        if self.constants:
            text += (
                f", and {self.constants} of {self.numbers} numbers are constant, which add up to {self.bits:.2f} bits "
                "per number, and more as sigma falls"
            )
        return f"{text}; the bound measures how far sigma fell, not how good the model is: {REMEDY}"


def sharpness(model: Callable[[Any], Any], x: Tensor, draws: int = 64) -> Sharpness | None:
    """Returns the noise scale of a model at codes from its prior; None if it does not observe the data as normal.

    Arguments:
        model: The model.
        x: The data it was trained on, ``(data, *shape)``.
        draws: Number of codes.
    """
    # With gradients, which show whether sigma is learned.
    with evaluation_mode(model), fork_random_state(0):
        scored = run(model, (x[:1],), {}, draws=draws)
    observed = list(observations(scored).values())
    base = exponential_family.base(observed[0]["fn"]) if len(observed) == 1 else None
    if not isinstance(base, torch.distributions.Normal):
        return None
    shape = observed[0]["fn"].event_shape
    if shape.numel() != x[0].numel():  # a part or a function of the data
        return None
    sigma = base.scale.detach().expand(draws, 1, *shape).contiguous().flatten(1).median(0).values
    same = constant(x).flatten()
    levels = x[:1000].unique()
    step = math.inf
    if len(levels) > 1:
        difference, span = levels.diff().min().item(), (levels[-1] - levels[0]).item()
        # Of binary data a sigma of 0.4 is not too small, but one of 0.1 is.
        step = max(min(difference, span / 255), difference / 5)
    density = -sigma[same].double().log() - math.log(2 * math.pi) / 2
    bits = density.sum().item() / (same.numel() * math.log(2))
    learned = base.scale.requires_grad or has_analytic_noise(model)
    return Sharpness(same.numel(), int(same.sum()), sigma.min().item(), step, bits, learned)

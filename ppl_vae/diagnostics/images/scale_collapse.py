"""Whether a learned noise has outrun the data: constant numbers, and a sigma finer than the data's own steps."""

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
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.random_state import fork_random_state

__all__ = ["Sharpness", "sharpness"]

REMEDY = "take --dequantise for data that are bytes, or a higher --floor for others"


@dataclass(frozen=True)
class Sharpness:
    """How fine the noise of a Gaussian model is, beside the data.

    Arguments:
        numbers: Of a datum.
        constants: How many of them are the same in all data.
        least: The smallest sigma: over the numbers of a datum, of each the median over codes from the prior.
        step: The smallest difference between two values in the data, at most a byte's: 1/255 of their range.
        bits: Bits a number of a datum that the constant ones add to the log-density at most, as sigma is now.
        learned: Whether sigma was; one that is given falls nowhere.
    """

    numbers: int
    constants: int
    least: float
    step: float
    bits: float
    learned: bool

    @property
    def diverges(self) -> bool:
        """Whether a learned sigma is below half a step of the data: the density then rewards their rounding."""
        return self.learned and self.least < self.step / 2

    @property
    def warning(self) -> str | None:
        """What to tell the user, with the remedy; None if there is nothing to tell."""
        if not self.diverges:
            return None
        words = (
            f"the likelihood diverges: sigma has fallen to {self.least:.2g}, below half the data's step of "
            f"{self.step:.2g}, and only a floor can hold it"
        )
        if self.constants:
            words += (
                f", and {self.constants} of {self.numbers} numbers are constant, which add up to {self.bits:.2f} bits "
                "a number, and more as sigma falls"
            )
        return f"{words}; the bound says how far sigma fell, not how good the model is: {REMEDY}"


def sharpness(model: Callable[[Any], Any], x: Tensor, draws: int = 64) -> Sharpness | None:
    """Looks at the noise of a model, at codes from its prior; None if it does not observe the data as normal numbers.

    Arguments:
        model: A model that keeps the contract.
        x: The data it was trained on, ``(data, *shape)``.
        draws: How many codes.
    """
    # With gradients: they tell whether sigma is learned.
    with evaluation_mode(model), fork_random_state(0):
        scored = run(model, (x[:1],), {}, draws=draws)
    seen = [site for name, site in scored.items() if name not in latents(scored)]
    base = exponential_family.base(seen[0]["fn"]) if len(seen) == 1 else None
    if not isinstance(base, torch.distributions.Normal):
        return None
    own = seen[0]["value"].shape[1:]
    if own.numel() != x[0].numel():  # a part of the data, or something made of them
        return None
    sigma = base.scale.detach().expand(draws, 1, *own).contiguous().flatten(1).median(0).values
    same = constant(x).flatten()
    levels = x[:1000].unique()
    # Zeros and ones are no reason to call a sigma of 0.4 too fine.
    step = min(levels.diff().min().item(), (levels[-1] - levels[0]).item() / 255) if len(levels) > 1 else math.inf
    density = -sigma[same].double().log() - math.log(2 * math.pi) / 2
    bits = density.sum().item() / (same.numel() * math.log(2))
    return Sharpness(same.numel(), int(same.sum()), sigma.min().item(), step, bits, base.scale.requires_grad)

"""Whether a learned noise has outrun the data: constant numbers, and a sigma finer than the data's own steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppl_vae import exponential_family
from ppl_vae.log_weight import latents, run
from ppl_vae.modes import evaluation_mode
from ppl_vae.randomness import kept_random_state

__all__ = ["Sharpness", "bits_per_number", "constant", "pixels", "sharpness"]

REMEDY = "take --dequantise for data that are bytes, or a higher --floor for others"


def constant(x: Tensor) -> Tensor:
    """Which numbers are the same in all data, ``shape``.

    Example:
        >>> constant(torch.tensor([[0.0, 1.0], [0.0, 2.0]]))
        tensor([ True, False])
    """
    return x.amin(0) == x.amax(0)


def bits_per_number(nats: float, numbers: int, levels: int = 256) -> float:
    r"""The length of a code for bytes, in bits a number, from a log-density of the same data scaled to [0, 1].

    .. math:: \frac{-\log p(x) + n \log 256}{n \log 2}

    A bound on a code that exists where the data are (byte + u) / 256 with u uniform in [0, 1) (Theis, van den Oord and
    Bethge 2016, section 3.1): never below 0. Of data that were not dequantised it can be anything. A grey pixel is
    one number, a coloured one three.

    Arguments:
        nats: Log-density of a datum, or its bound.
        numbers: How many a datum has, n.
        levels: Of a number before it was scaled.

    Example:
        >>> bits_per_number(0.0, 784)
        8.0
    """
    return math.log2(levels) - nats / (numbers * math.log(2))


def pixels(x: Any) -> int | None:
    """How many numbers a picture has, a datum with height and width and values in [0, 1]; None for other data.

    Example:
        >>> pixels(torch.rand(5, 28, 28)), pixels(torch.rand(5, 784)), pixels(torch.randn(5, 28, 28))
        (784, None, None)
    """
    pictures = isinstance(x, Tensor) and x.ndim in (3, 4) and len(x) and x.min() >= 0 and x.max() <= 1
    return x[0].numel() if pictures else None


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
    with evaluation_mode(model), kept_random_state(0):
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

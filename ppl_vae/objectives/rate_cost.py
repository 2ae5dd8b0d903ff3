"""The cost of the rate: bounds made of a rate and a distortion differ in it alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ppl_vae.data.text_file import shown

__all__ = ["RateCost"]

STEEPEST = 3.0
"""Distance from the target, in nats, beyond which the penalty of the Lagrangian form is linear."""

SPEED = 0.01
"""Change of the logarithm of the multiplier per step and nat off the target."""

MULTIPLIERS = (1e-4, 1e4)
"""Smallest and largest multiplier."""


@dataclass(frozen=True)
class RateCost:
    r"""The cost h of the rate in the loss :math:`D + h(R)`, in nats per datum.

    With the rate and the distortion of a batch of N data,

    .. math:: R = \frac1N \sum_i \mathbb{E}_{q(z \mid x_i)}[\log q(z \mid x_i) - \log p(z)], \qquad
        D = -\frac1N \sum_i \mathbb{E}_{q(z \mid x_i)} \log p(x_i \mid z),

    every cost has the gradient :math:`\nabla D + h'(R) \nabla R`: that of a beta-ELBO whose :math:`\beta = h'(R)` is
    held fixed, so that any estimator of a beta-ELBO's gradient serves. The costs are

    - :math:`\beta R`, the beta-ELBO (Higgins et al. 2017, eq. 4; Alemi et al. 2018); :math:`\beta = 1` is the ELBO;
    - the same with :math:`\beta` times :math:`\min(1, t / T)` after t epochs, linear annealing (Bowman et al. 2016,
      section 3.1), or times :math:`\min(1, 2 (t \bmod T) / T)`, cyclic annealing, which rises in the first half of
      every cycle (Fu et al. 2019, eq. 6 with their ratio of one half);
    - :math:`\beta \sum_j \max(\lambda, R_j)` over the latent sites j, free bits (Kingma et al. 2016, eq. 15, one group
      per site): :math:`\beta_j` is 0 where :math:`R_j \le \lambda`;
    - :math:`\beta \, |R - R^*|`, the aim at a rate (Alemi et al. 2018, with :math:`\beta = 1`; Burgess et al. 2018,
      eq. 8): :math:`\pm \beta`;
    - its Lagrangian form, the least D at a rate of :math:`R^*`: :math:`\mu (e^{R - R^*} - 1)`, with a multiplier that
      follows :math:`\mu \leftarrow \mu\, e^{0.01 (R - R^*)}` after every step. This is the exponential method of
      multipliers (Kort and Bertsekas 1972); the multiplier is updated as by Rezende and Viola (2018, GECO), and the
      factor of the rate's gradient, :math:`\mu e^{R - R^*}`, damps it. Beyond 3 nats the exponential goes on as a
      line.

    Where the rate of a batch comes from draws, :math:`h'` is that of its estimate. The gradient is then unbiased where
    :math:`h'` is the same for all draws: always for the first two costs, away from kink and target for the others.

    Arguments:
        beta: Weight of the rate, or of its distance from the target; 1 is the ELBO. In the Lagrangian form, the
            multiplier's initial value.
        anneal: How that weight rises from 0: ``"none"``; ``"linear:T"``, once in T epochs; or ``"cyclic:T"``, in the
            first half of every cycle of T epochs.
        free_bits: Nats of rate (lambda) that each latent site has without cost.
        rate: Target R* of the rate, in nats per datum: D + beta |R - R*| is minimised. None is no target.
        lagrangian: Whether the target is a constraint: least distortion at that rate, the weight found in training.

    Raises:
        ValueError: If a number is out of range, or two of them contradict each other.

    Example:
        >>> RateCost(2.0, anneal="linear:4").penalty({"z": 3.0}, epoch=1.0)
        (1.5, {'z': 0.5})
        >>> RateCost(rate=5.0).penalty({"z": 3.0})
        (2.0, {'z': -1.0})
        >>> RateCost(free_bits=1.0).penalty({"y": 0.5, "z": 3.0})
        (4.0, {'y': 0.0, 'z': 1.0})
    """

    beta: float = 1.0
    anneal: str = "none"
    free_bits: float = 0.0
    rate: float | None = None
    lagrangian: bool = False

    def __post_init__(self) -> None:
        for name, value in (("beta", self.beta), ("free bits", self.free_bits), ("rate", self.rate or 0.0)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number that is not negative, got {value:g}")
        kind, period = self._schedule
        if kind not in ("none", "linear", "cyclic") or (kind == "none") != (period is None):
            raise ValueError(f"annealing is none, linear:EPOCHS or cyclic:EPOCHS, got {shown(self.anneal)}")
        if period is not None and not 0 < period < math.inf:
            raise ValueError(f"annealing takes a positive number of epochs, got {shown(self.anneal)}")
        if self.free_bits and self.rate is not None:
            raise ValueError(
                f"free bits ({self.free_bits:g}) and an aim at a rate ({self.rate:g}) contradict each other: the one "
                "leaves the rate free, the other fixes it; leave one out"
            )
        if self.lagrangian and self.rate is None:
            raise ValueError("the Lagrangian form needs a rate to aim at; give one (--rate), or leave it out")
        if self.lagrangian and (self.anneal != "none" or not self.beta):
            raise ValueError(
                f"the multiplier of the Lagrangian form finds its weight itself: leave out annealing (got "
                f"{self.anneal!r}), and begin with a positive beta (got {self.beta:g})"
            )

    @property
    def _schedule(self) -> tuple[str, float | None]:
        kind, colon, period = self.anneal.partition(":")
        try:
            return kind, float(period) if colon else None
        except ValueError:
            return kind, math.nan

    @property
    def is_elbo(self) -> bool:
        """Whether it is the rate itself, once annealing is over."""
        return self.beta == 1 and not self.free_bits and self.rate is None

    @property
    def linear(self) -> bool:
        """Whether beta does not depend on the rate."""
        return not self.free_bits and self.rate is None

    @property
    def epochs(self) -> float:
        """Number of epochs until the weight first reaches beta."""
        kind, period = self._schedule
        return (period or 0.0) / (2 if kind == "cyclic" else 1)

    def weight(self, epoch: float | None) -> float:
        """Beta after this number of epochs, whole or not; infinity stands for the end of annealing.

        Raises:
            ValueError: If it is annealed and the epoch is not known.

        Example:
            >>> [RateCost(anneal="cyclic:4").weight(epoch) for epoch in (0, 1, 2, 3, 4, 5)]
            [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
        """
        kind, period = self._schedule
        if period is None:
            return self.beta
        if epoch is None:
            raise ValueError(
                f"annealing ({self.anneal}) needs to know the epoch: set `objective.epoch` before each step"
            )
        if epoch == math.inf:
            return self.beta
        done = 2 * (epoch % period) / period if kind == "cyclic" else epoch / period
        return self.beta * min(1.0, done)

    def penalty(
        self, rates: Mapping[str, float], epoch: float | None = None, multiplier: float | None = None
    ) -> tuple[float, dict[str, float]]:
        """The cost of a rate and its derivatives.

        Arguments:
            rates: Rate of each latent site, in nats per datum.
            epoch: Number of epochs trained.
            multiplier: Multiplier of the Lagrangian form; None is its first value.

        Returns:
            h(R) in nats, and the beta of each site, which multiplies the gradient of its rate.
        """
        if self.lagrangian:
            value, slope = self._constraint(sum(rates.values()), self.beta if multiplier is None else multiplier)
            return value, dict.fromkeys(rates, slope)
        weight = self.weight(epoch)
        if self.rate is not None:
            off = sum(rates.values()) - self.rate
            return weight * abs(off), dict.fromkeys(rates, math.copysign(weight, off) if off else 0.0)
        if self.free_bits:
            paid = {name: rate > self.free_bits for name, rate in rates.items()}
            value = sum(max(self.free_bits, rate) for rate in rates.values())
            return weight * value, {name: weight if over else 0.0 for name, over in paid.items()}
        return weight * sum(rates.values()), dict.fromkeys(rates, weight)

    def _constraint(self, rate: float, multiplier: float) -> tuple[float, float]:
        assert self.rate is not None
        off = rate - self.rate
        slope = math.exp(min(off, STEEPEST))
        return multiplier * (slope - 1 + slope * max(0.0, off - STEEPEST)), multiplier * slope

    def follow(self, multiplier: float, rate: float) -> float:
        """The multiplier of the Lagrangian form after a step at this rate."""
        assert self.rate is not None
        moved = multiplier * math.exp(SPEED * max(-STEEPEST, min(STEEPEST, rate - self.rate)))
        return min(max(moved, MULTIPLIERS[0]), MULTIPLIERS[1])

    def __str__(self) -> str:
        if self.lagrangian:
            return f"least distortion at a rate of {self.rate:g} nats"
        formula = f"D + {'' if self.beta == 1 else f'{self.beta:g} '}"
        if self.rate is not None:
            formula += f"|R - {self.rate:g}|"
        else:
            formula += f"max({self.free_bits:g}, R)" if self.free_bits else "R"
        return formula + ("" if self.anneal == "none" else f", annealed ({self.anneal})")

"""Objectives made of a rate and a distortion: the cost of the rate at each step, and the metric for validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ppl_vae.objectives.base import Objective
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.programs.handlers import DRAWS

__all__ = ["Betas", "RateDistortionObjective", "scaled_sites"]

Betas = Mapping[str, float]
"""Weight of the rate of each latent site."""


class RateDistortionObjective(Objective):
    """A loss D + h(R).

    Arguments:
        draws: Number of independent draws per datum.
        beta: The weight of the rate, or its whole cost.

    Attributes:
        cost: Cost of the rate.
        multiplier: Current multiplier of the Lagrangian form.
    """

    def __init__(self, draws: int, beta: float | RateCost = 1.0, **options: object) -> None:
        super().__init__(draws, **options)
        self.cost = beta if isinstance(beta, RateCost) else RateCost(beta)
        self.multiplier = self.beta = self.cost.beta
        self._rate: float | None = None

    def penalty(
        self, rates: Mapping[str, Tensor], *programs: Mapping[str, Any]
    ) -> tuple[float | None, dict[str, float]]:
        """Cost of the rate of a batch, and its derivatives.

        Arguments:
            rates: Rate of each latent site, summed over the batch, in nats.
            programs: Sites of model and guide, which tell the number of data.

        Returns:
            The cost of the whole batch in nats, None where it is the betas times the rates; and the betas.

        Raises:
            ValueError: If the cost is no multiple of the rate, and the pair has no rate per datum.
        """
        cost = None
        if self.cost.linear:
            betas = dict.fromkeys(rates, self.cost.weight(self.epoch))
        else:
            count = _count(*programs)
            means = dict(zip(rates, (torch.stack(list(rates.values())) / count).tolist(), strict=True))
            self._rate = sum(means.values())
            mean, betas = self.cost.penalty(means, self.epoch, self.multiplier)
            cost = count * mean
        self.beta = sum(betas.values()) / max(1, len(betas))
        return cost, betas

    @property
    def description(self) -> str:
        return "elbo" if self.cost == RateCost() else str(self.cost)

    @property
    def selection_metric(self) -> str | None:
        if self.cost.lagrangian:
            return None  # the multiplier follows a path: no single number tells a good epoch from a bad one
        return "elbo" if self.cost.is_elbo else "objective"

    @property
    def annealing_epochs(self) -> float:
        return self.cost.epochs

    @property
    def is_stationary(self) -> bool:
        return self.cost.linear and not self.cost.epochs

    def extra_metrics(self, distortion: float, rates: Mapping[str, float]) -> dict[str, float]:
        """The negative of the loss once annealing is over."""
        if self.selection_metric != "objective":
            return {}
        return {"objective": -distortion - self.cost.penalty(rates, math.inf)[0]}

    def after_step(self) -> None:
        if self.cost.lagrangian and self._rate is not None:
            self.multiplier = self.cost.follow(self.multiplier, self._rate)

    @property
    def state(self) -> dict[str, float]:
        return {"multiplier": self.multiplier} if self.cost.lagrangian else {}

    @state.setter
    def state(self, values: dict[str, float]) -> None:
        self.multiplier = values.get("multiplier", self.multiplier)


def scaled_sites(sites: Mapping[str, Any], betas: Betas) -> dict[str, Any]:
    """Sites whose latents are scaled by their betas, as by ``poutine.scale``."""
    return {n: s | {"scale": betas[n] * s["scale"]} if betas.get(n, 1.0) != 1 else s for n, s in sites.items()}


def _count(*programs: Mapping[str, Any]) -> int:
    """Number of data in the batch of a pair whose rates can be averaged over them.

    Raises:
        ValueError: Naming the site that lies in more than one plate, or is scaled or masked.
    """
    sizes: set[int] = set()
    for name, site in (item for sites in programs for item in sites.items()):
        frames = [frame for frame in site["cond_indep_stack"] if frame.name != DRAWS]
        plain = isinstance(site["scale"], float | int) and site["scale"] == 1 and site["mask"] is None
        if len(frames) != 1 or not plain:
            raise ValueError(
                f"site {name!r} is scaled or masked, or not in exactly one plate: it has no rate per datum to set "
                "free or to aim at; change the pair, or weight the rate by beta alone"
            )
        sizes |= {frame.size for frame in frames}
    return max(sizes)

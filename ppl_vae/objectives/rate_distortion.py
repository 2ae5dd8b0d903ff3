"""Objectives made of a rate and a distortion: what the rate costs, step by step, and what chooses the epoch."""

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
"""What multiplies the rate of each latent site."""


class RateDistortionObjective(Objective):
    """A loss D + h(R).

    Arguments:
        draws: Independent draws a datum.
        beta: The weight of the rate, or its whole cost.

    Attributes:
        cost: Of the rate.
        multiplier: Of the Lagrangian form, as far as it has come.
    """

    def __init__(self, draws: int, beta: float | RateCost = 1.0, **options: Any) -> None:
        super().__init__(draws, **options)
        self.cost = beta if isinstance(beta, RateCost) else RateCost(beta)
        self.multiplier = self.beta = self.cost.beta
        self._rate: float | None = None

    def penalty(
        self, rates: Mapping[str, Tensor], *programs: Mapping[str, Any]
    ) -> tuple[float | None, dict[str, float]]:
        """What the rate of a batch costs.

        Arguments:
            rates: By latent site, summed over the batch, in nats.
            programs: Sites of model and guide, to count the data by.

        Returns:
            The cost of the whole batch in nats, None where it is but the betas times the rates; and the betas.

        Raises:
            ValueError: If the cost is no multiple of the rate, and the pair has no rate a datum.
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
    def words(self) -> str:
        return "elbo" if self.cost == RateCost() else str(self.cost)

    @property
    def selection_metric(self) -> str | None:
        if self.cost.lagrangian:
            return None  # its multiplier is at the end of a path: no epoch can be told from another by one number
        return "elbo" if self.cost.is_elbo else "objective"

    @property
    def annealing_epochs(self) -> float:
        return self.cost.epochs

    @property
    def is_stationary(self) -> bool:
        return self.cost.linear and not self.cost.epochs

    def extra_metrics(self, distortion: float, rates: Mapping[str, float]) -> dict[str, float]:
        """What is minimised once annealing is over, as something to be maximised."""
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
    def state(self, kept: dict[str, float]) -> None:
        self.multiplier = kept.get("multiplier", self.multiplier)


def scaled_sites(sites: Mapping[str, Any], betas: Betas) -> dict[str, Any]:
    """Sites whose latents are scaled by beta, as ``poutine.scale`` would have it."""
    return {n: s | {"scale": betas[n] * s["scale"]} if betas.get(n, 1.0) != 1 else s for n, s in sites.items()}


def _count(*programs: Mapping[str, Any]) -> int:
    """How many data the batch has, of a pair whose rates can be averaged over them.

    Raises:
        ValueError: Naming the site that lies in more than one plate, or is scaled or masked.
    """
    sizes: set[int] = set()
    for name, site in (item for sites in programs for item in sites.items()):
        frames = [frame for frame in site["cond_indep_stack"] if frame.name != DRAWS]
        plain = isinstance(site["scale"], float | int) and site["scale"] == 1 and site["mask"] is None
        if len(frames) != 1 or not plain:
            raise ValueError(
                f"site {name!r} is scaled or masked, or not in exactly one plate: there is no rate a datum to set "
                "free or to aim at; mend the pair, or weigh the rate by beta alone"
            )
        sizes |= {frame.size for frame in frames}
    return max(sizes)

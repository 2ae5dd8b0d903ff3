"""Means over an epoch of the values that the objective computes in each step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.objectives.base import Objective

__all__ = ["EpochMetrics"]


class EpochMetrics:
    """Rate and distortion over an epoch, from the draws that the steps were made with."""

    def __init__(self) -> None:
        self.data: list[int] = []
        self.parts: dict[str, list[Tensor]] = {}
        self.betas: list[float] = []

    def add(self, objective: Objective, data: int) -> None:
        """Adds the values of a step on a batch of this size."""
        self.data.append(data)
        self.betas.append(objective.beta)
        for name, value in objective.batch_metrics.items():
            self.parts.setdefault(name, []).append(value)

    def row(self, objective: Objective, gain: float) -> dict[str, float]:
        """Means in nats per datum by name; ``gain`` is the mean of what was maximised.

        Standard errors are over batches, each a draw of data and codes; they hold for a pair that changes slowly.
        """
        if not self.parts:
            return {f"train_{objective.measures}": gain}
        count, means = torch.tensor(self.data, dtype=torch.float64), dict[str, float]()
        for name, values in self.parts.items():
            sums = torch.stack(values).cpu().double()
            mean = sums.sum() / count.sum()
            means[f"train_{name}"] = mean.item()
            if len(sums) > 1:
                spread = (sums - mean * count).square().sum() * len(sums) / (len(sums) - 1)
                means[f"train_{name}_se"] = (spread.sqrt() / count.sum()).item()
        if objective.description == "elbo":
            return {"train_elbo": gain} | means
        bound = {"train_elbo": -means["train_rate"] - means["train_distortion"], "train_objective": gain}
        return bound | means | {"beta": math.fsum(self.betas) / len(self.betas)}

"""What a training has seen in an epoch, as the metrics keep it."""

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
        self.data.append(data)
        self.betas.append(objective.beta)
        for name, value in objective.batch_metrics.items():
            self.parts.setdefault(name, []).append(value)

    def row(self, objective: Objective, gain: float) -> dict[str, float]:
        """Nats a datum, as the metrics keep them; ``gain`` is what was maximised.

        The standard errors are over batches, each a draw of data and codes, and hold for a pair that moves slowly.
        """
        if not self.parts:
            return {f"train_{objective.measures}": gain}
        count, found = torch.tensor(self.data, dtype=torch.float64), dict[str, float]()
        for name, values in self.parts.items():
            sums = torch.stack(values).cpu().double()
            mean = sums.sum() / count.sum()
            found[f"train_{name}"] = mean.item()
            if len(sums) > 1:
                spread = (sums - mean * count).square().sum() * len(sums) / (len(sums) - 1)
                found[f"train_{name}_se"] = (spread.sqrt() / count.sum()).item()
        if objective.description == "elbo":
            return {"train_elbo": gain} | found
        bound = {"train_elbo": -found["train_rate"] - found["train_distortion"], "train_objective": gain}
        return bound | found | {"beta": math.fsum(self.betas) / len(self.betas)}

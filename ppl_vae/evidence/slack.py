"""What a lower bound misses of the evidence of simulated data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ppl_vae.evidence.estimate import finite

__all__ = ["Slack"]


@dataclass(frozen=True)
class Slack:
    r"""What a lower bound misses of the evidence of simulated data, in nats per datum.

    A simulated datum comes with a sample of its posterior: the latents it was generated from. A sample of the posterior
    in place of one of the guide's turns the mean weight into an estimate whose inverse has the mean :math:`1 / p(x)`,
    and so the lower bound into an upper one (Grosse, Ghahramani and Adams 2015; Sobolev and Vetrov 2019). Their
    difference is at least, in expectation, what the lower bound misses.

    Arguments:
        pointwise: Upper minus lower bound of each simulated datum, ``(data,)``, in nats.
        k_hat: Pareto shape of the largest weights of each simulated datum, ``(data,)``; None where no weights are used.
    """

    pointwise: Tensor
    k_hat: Tensor | None = None

    def share_high(self, limit: float) -> float:
        """Largest share of data whose k-hat is expected above a limit, two standard errors over that of these data."""
        if self.k_hat is None:
            return 0.0
        count = len(self.k_hat)
        share = (int((self.k_hat > limit).sum()) + 1) / (count + 2)  # Laplace's rule: never 0 or 1
        return share + 2 * math.sqrt(share * (1 - share) / count)

    @property
    def mean(self) -> float:
        """Mean over the simulated data."""
        return self.pointwise.mean().item()

    @property
    def se(self) -> float:
        """Standard error of the mean over the simulated data."""
        return (self.pointwise.std() / math.sqrt(len(self.pointwise))).item()

    def to_json(self) -> dict[str, Any]:
        """Mean, standard error and largest value, in nats per datum."""
        largest = self.pointwise.max().item()
        return {
            "mean": finite(self.mean),
            "se": finite(self.se),
            "largest": finite(largest),
            "data": len(self.pointwise),
        }

    def __str__(self) -> str:
        return f"{self.mean:.3f} +- {self.se:.2g}"

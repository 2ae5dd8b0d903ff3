"""What a lower bound misses of the evidence of simulated data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

__all__ = ["Shortfall"]

LOWEST = -1e3
"""The Pareto shape of constant weights in JSON, which has no infinity."""


@dataclass(frozen=True)
class Shortfall:
    r"""What a lower bound misses of the evidence of simulated data, in nats per datum.

    A simulated datum comes with a sample of its posterior: the latents it was generated from. A sample of the posterior
    in place of one of the guide's turns the mean weight into an estimate whose inverse has the mean :math:`1 / p(x)`,
    and so the lower bound into an upper one (Grosse, Ghahramani and Adams 2015; Sobolev and Vetrov 2019). Their
    difference is at least, in expectation, what the lower bound misses.

    Arguments:
        pointwise: Upper minus lower bound of each simulated datum, ``(data,)``, in nats.
        k_hat: Pareto shape of the largest weights of each simulated datum, ``(data,)``; None where no weights are used.
        uncovered: Number of simulated data whose evidence is mostly that of samples of the prior.
        lower: The lower bound of each simulated datum, ``(data,)``; None where it is not kept.
    """

    pointwise: Tensor
    k_hat: Tensor | None = None
    uncovered: int = 0
    lower: Tensor | None = None

    def share_high(self, limit: float) -> float:
        """Largest share of data whose k-hat is expected above a limit."""
        return 0.0 if self.k_hat is None else self._expected(int((self.k_hat > limit).sum()))

    def unlike(self, evidence: Tensor) -> str:
        """Why data of this evidence, ``(data,)``, are not like the simulated ones; empty if they may be.

        A model that generates data of much higher density than these does not resemble them, and then what is missed of
        its own data says nothing of theirs.
        """
        if self.lower is None:
            return ""
        share = (evidence.to(self.lower) < self.lower.min()).double().mean().item()
        if share <= self._expected(0):
            return ""
        return f"{share:.0%} of the data have a lower evidence than any of {len(self.lower)} simulated ones"

    @property
    def share_unknown(self) -> float:
        """Largest share of data whose weights are expected to show no tail."""
        return 0.0 if self.k_hat is None else self._expected(int(self.k_hat.isnan().sum()))

    @property
    def share_uncovered(self) -> float:
        """Largest share of data that are expected to owe most of their evidence to samples of the prior."""
        return self._expected(self.uncovered)

    def _expected(self, found: int) -> float:
        """Two standard errors over the share of the simulated data by Laplace's rule, which is never 0 or 1."""
        count = len(self.pointwise)
        share = (found + 1) / (count + 2)
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
        """Mean and standard error, and the values of each simulated datum, in nats per datum."""
        content = {
            "mean": self.mean,
            "se": None if math.isnan(self.se) else self.se,
            "data": len(self.pointwise),
            "pointwise": self.pointwise.tolist(),
            "lower": None if self.lower is None else self.lower.tolist(),
        }
        if self.k_hat is not None:
            content["k_hat"] = [None if math.isnan(each) else max(each, LOWEST) for each in self.k_hat.tolist()]
            content["uncovered"] = self.uncovered
        return content

    @classmethod
    def stored(cls, content: Mapping[str, Any]) -> Self:
        """What :meth:`to_json` returned, read back."""
        shapes = content.get("k_hat")
        known = shapes and torch.tensor([math.nan if s is None else s for s in shapes], dtype=torch.float64)
        values, lower = (
            None if content.get(name) is None else torch.tensor(content[name], dtype=torch.float64)
            for name in ("pointwise", "lower")
        )
        assert values is not None
        return cls(values, known, content.get("uncovered", 0), lower)

    def __str__(self) -> str:
        return f"{self.mean:.3f} +- {self.se:.2g}"

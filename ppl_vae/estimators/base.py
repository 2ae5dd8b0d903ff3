"""What an estimator is: coupled draws of bits, and the gradient that belongs to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Code", "Estimator"]


@dataclass(frozen=True)
class Code:
    """Draws of the bits of a batch.

    Arguments:
        bits: Zeros and ones, ``(rows, *batch, bits)``.
        noise: What they were made from, of the estimator's own shape.
        logits: Their natural parameters, ``(*batch, bits)``.
    """

    bits: Tensor
    noise: Tensor
    logits: Tensor


class Estimator(ABC):
    """Coupled sampling of bits, and the gradient that belongs to it.

    An estimator declares what it needs: ``factorised`` bits (their logits must not depend on other draws), or
    not, in which case it weighs the scores of any discrete family; ``exact`` ones visit every state. What it
    ``needs`` of f: its values at the codes drawn, its slopes there as well, or its gains, which are what f rises by
    as one bit goes from 0 to 1 and the others stay.
    """

    name: str
    factorised: bool = False
    exact: bool = False
    least_draws: int = 1
    needs: Literal["values", "slopes", "gains"] = "values"

    @property
    def takes_control(self) -> bool:
        """Whether the first-order control variate may be put around it."""
        return not self.exact and self.needs == "values"

    def rows(self, draws: int) -> int:
        """How many values of f it takes for so many independent draws a datum.

        Raises:
            ValueError: If it cannot work from so few.
        """
        if draws < self.least_draws:
            raise ValueError(f"{self.name} needs at least {self.least_draws} draws, got {draws}; raise --draws")
        return draws

    def graded(self, rows: int) -> int:
        """From how many of its rows, the first ones, the model's own gradient is taken; the others are values only."""
        return rows

    @abstractmethod
    def draw(self, logits: Tensor, draws: int) -> Code:
        """Draws bits, ``(rows(draws), *batch, bits)``, from logits ``(*batch, bits)``."""

    @abstractmethod
    def gradient(self, f: Tensor, code: Code) -> Tensor:
        """Gradient of the mean of f for the logits, ``(*batch, bits)``.

        Arguments:
            f: Its values, ``(rows, *batch)``, or its gains, ``(rows, *batch, bits)``.
            code: What was drawn.
        """

    def from_slopes(self, slopes: Tensor, code: Code) -> Tensor:
        """What the slopes of f at the codes, ``(rows, *batch, bits)``, add to the gradient: linear in them."""
        raise NotImplementedError(f"{self.name} does without slopes")

    def weights(self, log_q: Tensor) -> Tensor:
        """What each row counts in an average, ``(rows, *batch)``, summing to one over rows."""
        return torch.full_like(log_q, 1 / len(log_q))

    def score_weights(self, f: Tensor, log_q: Tensor) -> Tensor:
        """Weights c such that the sum of c times the score of each row estimates the gradient.

        Raises:
            ValueError: If the estimator works on the logits of bits only.
        """
        raise ValueError(f"{self.name} works on independent bits only; use loo or enumerate")

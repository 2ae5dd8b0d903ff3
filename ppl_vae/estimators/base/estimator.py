"""The interface of an estimator: coupled draws of bits or states, and the gradient that belongs to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ppl_vae.estimators.base.integrand import Integrand
from ppl_vae.estimators.base.states import Groups, parts, probabilities

__all__ = ["Code", "Estimator"]


@dataclass(frozen=True)
class Code:
    """Draws of the bits of a batch, or of categoricals, each as a bit for every state of which one is 1.

    Arguments:
        bits: Zeros and ones, ``(rows, *batch, bits)``. They require a gradient where the estimator reads ``f.slopes``.
        noise: Random numbers that made them, of the estimator's own shape.
        logits: Natural parameters of the bits, ``(*batch, bits)``, or logits of the states.
        differentiated: Number of rows, the first ones, at which the parameters of f get their own gradient; None is
            all. The other rows serve the gradient of the logits alone.
        groups: Number and states of the categoricals; empty for bits.
    """

    bits: Tensor
    noise: Tensor
    logits: Tensor
    differentiated: int | None = None
    groups: Groups = ()

    def detach(self) -> Code:
        """The same draws outside any graph."""
        return replace(self, bits=self.bits.detach(), logits=self.logits.detach())

    @property
    def mean(self) -> Tensor:
        """Mean of the bits, ``(*batch, bits)``."""
        return probabilities(self.logits, self.groups) if self.groups else self.logits.sigmoid()

    def gradient_of_mean(self, slope: Tensor) -> Tensor:
        """Gradient of ``slope`` times the mean of the bits for the logits, ``(*batch, bits)``."""
        mean = self.mean
        if not self.groups:
            return slope * mean * (1 - mean)
        pairs = zip(parts(slope, self.groups), parts(mean, self.groups), strict=True)
        return torch.cat([(m * (s - (m * s).sum(-1, keepdim=True))).flatten(-2) for s, m in pairs], -1)

    @staticmethod
    def cat(codes: Iterable[Code]) -> Code:
        """Draws of several sites, made by one estimator, side by side."""
        codes = list(codes)
        if len(codes) == 1:
            return codes[0]
        bits, noise, logits = (torch.cat([getattr(c, part) for c in codes], -1) for part in ("bits", "noise", "logits"))
        return Code(bits, noise, logits, codes[0].differentiated, sum((code.groups for code in codes), ()))


class Estimator(ABC):
    """Coupled sampling of bits, and the gradient that belongs to it.

    A subclass writes :meth:`draw` and :meth:`gradient` and declares what it supports.

    Attributes:
        name: The name users type; by default that of the class in lower case.
        factorised: Whether it serves independent bits only: their logits must not depend on other draws. One that does
            not weighs the scores of any discrete family (:meth:`score_weights`).
        independent_latents: Whether no latent of any family may depend on another one, as where it reads
            ``f.flip_differences``, which leave all latents but one bit as drawn.
        categorical: Whether it serves independent categoricals, too (:meth:`draw_states`).
        exact: Whether it visits every state instead of drawing.
        without_replacement: Whether it draws different joint states of a single site (:meth:`draw_rows`), which have
            weights of their own.
        least_draws: Smallest number of draws it works from.
        most_bits: Longest code it serves; None is any.
        between_bits: Whether it is right only where f is continuous between zeros and ones
            (:func:`~ppl_vae.estimators.base.continuity.check_continuous`), as where it reads ``f.relaxed``.
        single_site: Whether all bits must be those of one site.
        bias: Why its mean is not the gradient; None where it is.
        no_control: Why the first-order control variate does not go around it; None where it may.
    """

    name: str
    factorised: ClassVar[bool] = False
    independent_latents: bool = False
    categorical: bool = False
    exact: ClassVar[bool] = False
    without_replacement: ClassVar[bool] = False
    least_draws: int = 1
    most_bits: int | None = None
    between_bits: bool = False
    single_site: bool = False
    bias: ClassVar[str | None] = None
    no_control: ClassVar[str | None] = None

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()

    @property
    def without_control(self) -> Estimator:
        """The estimator inside its control variate; itself where there is none."""
        return self

    @property
    def state(self) -> dict[str, float]:
        """What it has learned from the steps before, for a checkpoint; may be set. Empty where it learns nothing."""
        return {}

    @state.setter  # noqa: B027
    def state(self, values: dict[str, float]) -> None:
        pass

    def after_step(self) -> None:  # noqa: B027
        """Learns from its last gradient; called after every step of the optimiser."""

    def rows(self, draws: int) -> int:
        """Number of values of f for so many independent draws per datum.

        Raises:
            ValueError: If it cannot work from so few draws.
        """
        if draws < self.least_draws:
            raise ValueError(f"{self.name} needs at least {self.least_draws} draws, got {draws}; raise --draws")
        return draws

    @abstractmethod
    def draw(self, logits: Tensor, draws: int) -> Code:
        """Draws bits, ``(rows(draws), *batch, bits)``, from logits ``(*batch, bits)``."""

    @abstractmethod
    def gradient(self, code: Code, f: Integrand) -> Tensor:
        """Estimate of the gradient of the mean of f for the logits, ``(*batch, bits)``.

        It is linear in what it reads of f: an objective whose slopes arrive later than its values sums two calls.

        Arguments:
            code: The draws, outside any graph.
            f: The function at these draws; what is read of it is computed, nothing else.
        """

    def draw_states(self, logits: Tensor, draws: int) -> Code:
        """Draws independent categoricals, ``(rows(draws), *batch, number * states)``, where ``categorical``.

        Arguments:
            logits: Of the states, ``(*batch, number, states)``.
            draws: Number of independent draws.
        """
        raise NotImplementedError(f"{self.name} draws bits")

    def draw_rows(self, log_q: Tensor, draws: int) -> Tensor:
        """Draws joint states by number, ``(rows, *batch)``, where ``without_replacement``.

        Arguments:
            log_q: Log-probabilities of all states, ``(states, *batch)``.
            draws: Number of draws; the rows are no more than the states.
        """
        raise NotImplementedError(f"{self.name} draws with replacement")

    def weights(self, log_q: Tensor) -> Tensor:
        """Weight of each row in an average, ``(rows, *batch)``, summing to one over rows."""
        return torch.full_like(log_q, 1 / len(log_q))

    def score_weights(self, values: Tensor, log_q: Tensor) -> Tensor:
        """Weights c such that the sum of c times the score of each row estimates the gradient.

        Arguments:
            values: Of f, ``(rows, *batch)``.
            log_q: Log-probabilities of the draws, ``(rows, *batch)``.

        Raises:
            ValueError: If the estimator works on the logits of bits only.
        """
        raise ValueError(f"{self.name} works on independent bits only; use loo or enumerate")

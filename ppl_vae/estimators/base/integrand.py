"""The function whose mean is differentiated, as estimators read it: lazily."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppl_vae.distributions.bits import bit_flips
from ppl_vae.estimators.base.states import switched_values

if TYPE_CHECKING:
    from ppl_vae.estimators.base.estimator import Code, Estimator

__all__ = ["FunctionIntegrand", "Integrand", "check_slopes", "estimate"]


class Integrand(ABC):
    """A function f of bits at the draws of a code. Each property is computed when it is first read.

    Its values belong to no graph. Shapes: ``rows`` are those of the code, ``batch`` and ``bits`` those of its logits.
    """

    @property
    @abstractmethod
    def values(self) -> Tensor:
        """f at each draw, ``(rows, *batch)``."""

    @property
    @abstractmethod
    def slopes(self) -> Tensor:
        """Gradient of f for the bits at each draw, ``(rows, *batch, bits)``.

        Raises:
            ValueError: If the estimator did not draw bits that require a gradient.
        """

    @property
    @abstractmethod
    def slope_at_mean(self) -> Tensor:
        """Gradient of f for the bits at their means, ``(*batch, bits)``: one evaluation at bits between 0 and 1."""

    @abstractmethod
    def relaxed(self, bits: Tensor) -> tuple[Tensor, Tensor]:
        """f at bits between 0 and 1, ``(rows, *batch)``, and its gradient for them, ``(rows, *batch, bits)``.

        One evaluation and its gradient, in which other latents are as in the same row of the draws.

        Arguments:
            bits: One code a row, ``(rows, *batch, bits)``.
        """

    @property
    @abstractmethod
    def flip_differences(self) -> Tensor:
        """f with a bit at 1 minus f with it at 0, the other bits as drawn, ``(rows, *batch, bits)``.

        It takes an evaluation of f for each bit, except where f knows them.
        """

    @property
    @abstractmethod
    def switched_values(self) -> Tensor:
        """f with one categorical at each of its states, the others as drawn, ``(rows, *batch, states of all)``.

        Up to a number that is the same for all states of a categorical. It takes an evaluation of f for each state that
        was not drawn.
        """


class FunctionIntegrand(Integrand):
    """A plain function at the draws of a code.

    Arguments:
        function: From bits, ``(rows, *batch, bits)``, to values, ``(rows, *batch)``.
        code: The draws.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], code: Code) -> None:
        self.function, self.code = function, code
        self.bits = code.bits.detach()

    @cached_property
    def values(self) -> Tensor:
        return self.function(self.bits).detach()

    @cached_property
    def slopes(self) -> Tensor:
        check_slopes(self.code)
        return self.relaxed(self.bits)[1]

    @cached_property
    def slope_at_mean(self) -> Tensor:
        return self.relaxed(self.code.detach().mean[None])[1][0]

    def relaxed(self, bits: Tensor) -> tuple[Tensor, Tensor]:
        bits = bits.clone().requires_grad_()
        values = self.function(bits)
        (slope,) = torch.autograd.grad(values.sum(), bits)
        return values.detach(), slope

    @cached_property
    def flip_differences(self) -> Tensor:
        flipped = self.function(bit_flips(self.bits).flatten(0, 1)).detach().reshape(-1, *self.bits.shape[:-1])
        return (1 - 2 * self.bits) * (flipped - self.values).movedim(0, -1)

    @cached_property
    def switched_values(self) -> Tensor:
        return switched_values(lambda z: self.function(z).detach(), self.bits, self.code.groups, self.values)


def check_slopes(code: Code) -> None:
    """Checks that a code was drawn for an estimator that reads slopes.

    Raises:
        ValueError: If its bits require no gradient.
    """
    if not code.bits.requires_grad:
        raise ValueError(
            "f.slopes exists where the estimator draws bits that require a gradient: return "
            "Code(bits.requires_grad_(), ...) from its draw"
        )


def estimate(
    estimator: Estimator, f: Callable[[Tensor], Tensor], logits: Tensor, draws: int = 1, *, states: bool = False
) -> Tensor:
    """One estimate of the gradient of E f for a plain function f: ``(rows, *batch, bits)`` to ``(rows, *batch)``.

    With ``states``, f takes categoricals, ``(rows, *batch, number * states)``, each as a bit for every state, and the
    logits are ``(*batch, number, states)``.

    Example:
        >>> from ppl_vae.estimators.enumerate import Enumerate
        >>> estimate(Enumerate(), lambda z: z.sum(-1), torch.zeros(1, 2))
        tensor([[0.2500, 0.2500]])
    """
    code = (estimator.draw_states if states else estimator.draw)(logits.detach(), draws)
    return estimator.gradient(code.detach(), FunctionIntegrand(f, code)).reshape(logits.shape)

r"""Gradient estimators through discrete latents: coupled draws, and a gradient from the value of each.

All estimate :math:`\nabla_\eta\, \mathbb{E}_{q_\eta(z)} f(z)` for bits with logits :math:`\eta`. They know
nothing of Pyro; :class:`ppl_vae.objectives.DiscreteELBO` brings them to Pyro's models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.bits import bit_states

__all__ = [
    "ARM",
    "ESTIMATORS",
    "Code",
    "DisARM",
    "Enumerate",
    "Estimator",
    "FirstOrder",
    "LeaveOneOut",
    "estimate",
]


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
    not, in which case it weighs the scores of any discrete family; ``exact`` ones visit every state.
    """

    name: str
    factorised: bool = False
    exact: bool = False
    least_draws: int = 1

    def rows(self, draws: int) -> int:
        """How many values of f it takes for so many independent draws a datum.

        Raises:
            ValueError: If it cannot work from so few.
        """
        if draws < self.least_draws:
            raise ValueError(f"{self.name} needs at least {self.least_draws} draws, got {draws}; raise --draws")
        return draws

    @abstractmethod
    def draw(self, logits: Tensor, draws: int) -> Code:
        """Draws bits, ``(rows(draws), *batch, bits)``, from logits ``(*batch, bits)``."""

    @abstractmethod
    def gradient(self, f: Tensor, code: Code) -> Tensor:
        """Gradient of the mean of f for the logits, ``(*batch, bits)``, from f, ``(rows, *batch)``."""

    def weights(self, log_q: Tensor) -> Tensor:
        """What each row counts in an average, ``(rows, *batch)``, summing to one over rows."""
        return torch.full_like(log_q, 1 / len(log_q))

    def score_weights(self, f: Tensor, log_q: Tensor) -> Tensor:
        """Weights c such that the sum of c times the score of each row estimates the gradient.

        Raises:
            ValueError: If the estimator works on the logits of bits only.
        """
        raise ValueError(f"{self.name} works on independent bits only; use loo or enumerate")


class _Antithetic(Estimator):
    """Draws in pairs made from u and 1 - u; the pairs lie one after the other along the rows."""

    factorised = True

    def rows(self, draws: int) -> int:
        return 2 * super().rows(draws)

    def draw(self, logits: Tensor, draws: int) -> Code:
        noise = torch.rand(draws, *logits.shape, dtype=logits.dtype, device=logits.device)
        positive = logits.sigmoid()
        bits = torch.cat([noise > 1 - positive, noise < positive]).to(logits.dtype)
        return Code(bits, noise, logits)


class ARM(_Antithetic):
    r"""Augment-REINFORCE-merge (Yin and Zhou 2019, theorem 1).

    .. math:: \hat g = \tfrac12 \bigl(f(1_{u > \sigma(-\eta)}) - f(1_{u < \sigma(\eta)})\bigr)(2u - 1)

    with :math:`u` uniform, averaged over the draws; unbiased.

    Example:
        >>> bits = ARM().draw(torch.zeros(4, 3), draws=2).bits
        >>> bits.shape
        torch.Size([4, 4, 3])
    """

    name = "arm"

    def gradient(self, f: Tensor, code: Code) -> Tensor:
        first, second = f.chunk(2)
        return (0.5 * (first - second)[..., None] * (2 * code.noise - 1)).mean(0)


class DisARM(_Antithetic):
    r"""Discrete ARM: ARM with the uniforms integrated out given the bits (Dong, Mnih and Tucker 2020, eq. 7).

    .. math:: \hat g_j = \tfrac12 \bigl(f(b) - f(\tilde b)\bigr)
        (-1)^{\tilde b_j}\, 1_{b_j \ne \tilde b_j}\, \sigma(|\eta_j|)

    for an antithetic pair of codes :math:`b, \tilde b`, averaged over the pairs; unbiased, and never noisier
    than ARM. Yin, Ho, Yan, Qian and Zhou found it independently in 2020 (unbiased uniform gradient).
    """

    name = "disarm"

    def gradient(self, f: Tensor, code: Code) -> Tensor:
        first, second = f.chunk(2)
        b, mirrored = code.bits.chunk(2)
        return (0.5 * (first - second)[..., None] * (b - mirrored)).mean(0) * code.logits.abs().sigmoid()


class LeaveOneOut(Estimator):
    r"""REINFORCE whose baseline is the mean of the other draws (Kool, van Hoof and Welling 2019).

    .. math:: \hat g = \frac{1}{S-1} \sum_s \bigl(f(z_s) - \bar f\bigr) \nabla_\eta \log q_\eta(z_s)

    Unbiased for any discrete family, independent bits or not.
    """

    name = "loo"
    least_draws = 2

    def draw(self, logits: Tensor, draws: int) -> Code:
        noise = torch.rand(self.rows(draws), *logits.shape, dtype=logits.dtype, device=logits.device)
        return Code((noise < logits.sigmoid()).to(logits.dtype), noise, logits)

    def gradient(self, f: Tensor, code: Code) -> Tensor:
        return (self.score_weights(f, f)[..., None] * (code.bits - code.logits.sigmoid())).sum(0)

    def score_weights(self, f: Tensor, log_q: Tensor) -> Tensor:
        return (f - f.mean(0)) / (len(f) - 1)


class Enumerate(Estimator):
    r"""The exact gradient, by visiting every state.

    .. math:: \sum_z f(z) \nabla_\eta q_\eta(z)

    Arguments:
        most_bits: The largest code it visits; 12 bits are 4,096 evaluations of f a datum.

    Raises:
        ValueError: On drawing, for more bits than that.
    """

    name = "enumerate"
    exact = True

    def __init__(self, most_bits: int = 12) -> None:
        self.most_bits = most_bits

    def draw(self, logits: Tensor, draws: int = 1) -> Code:
        bits = logits.shape[-1]
        if bits > self.most_bits:
            raise ValueError(f"enumerate visits at most {self.most_bits} bits, got {bits}; use disarm")
        states = bit_states(bits, like=logits)
        states = states.reshape(-1, *[1] * (logits.ndim - 1), bits).expand(-1, *logits.shape)
        return Code(states, states, logits)

    def gradient(self, f: Tensor, code: Code) -> Tensor:
        log_q = -torch.nn.functional.softplus((1 - 2 * code.bits) * code.logits).sum(-1)
        return (self.score_weights(f, log_q)[..., None] * (code.bits - code.logits.sigmoid())).sum(0)

    def weights(self, log_q: Tensor) -> Tensor:
        return log_q.exp()

    def score_weights(self, f: Tensor, log_q: Tensor) -> Tensor:
        return self.weights(log_q) * f


class FirstOrder(Estimator):
    r"""Wraps an estimator: f is replaced by what is left of it after its tangent at the mean code.

    With :math:`\mu = \sigma(\eta)` and the slope :math:`s = \nabla_z f(\mu)` of f at relaxed bits,

    .. math:: \nabla_\eta \mathbb{E} f(z) = \nabla_\eta \mathbb{E}[f(z) - s^\top z] + s \odot \mu \odot (1 - \mu):

    the estimator sees the residual, and the linear part has its exact gradient (in the manner of MuProp, Gu,
    Levine, Sutskever and Mnih 2016, section 3). Unbiased, for one more evaluation of f and its gradient for z.

    Arguments:
        estimator: Any estimator of independent bits that draws them.

    Raises:
        ValueError: For an exact estimator.
    """

    def __init__(self, estimator: Estimator) -> None:
        if estimator.exact:
            raise ValueError(f"{estimator.name} is exact: it takes no control variate")
        self.estimator = estimator
        self.name = f"{estimator.name}+first_order"
        self.factorised = True
        self.least_draws = estimator.least_draws

    def rows(self, draws: int) -> int:
        return self.estimator.rows(draws)

    def draw(self, logits: Tensor, draws: int) -> Code:
        return self.estimator.draw(logits, draws)

    def gradient(self, f: Tensor, code: Code, slope: Tensor | None = None) -> Tensor:
        """Gradient for the logits, given the slope of f at the mean code, ``(*batch, bits)``."""
        if slope is None:
            raise ValueError("the first-order control variate needs the slope of f at the mean code")
        mean = code.logits.sigmoid()
        residual = f - (code.bits * slope).sum(-1)
        return self.estimator.gradient(residual, code) + slope * mean * (1 - mean)


ESTIMATORS: dict[str, type[Estimator]] = {kind.name: kind for kind in (DisARM, ARM, LeaveOneOut, Enumerate)}


def estimate(estimator: Estimator, f: Callable[[Tensor], Tensor], logits: Tensor, draws: int = 1) -> Tensor:
    """One estimate of the gradient of E f for a plain function f: ``(rows, *batch, bits)`` to ``(rows, *batch)``.

    Example:
        >>> estimate(Enumerate(), lambda z: z.sum(-1), torch.zeros(1, 2))
        tensor([[0.2500, 0.2500]])
    """
    logits = logits.detach()
    code = estimator.draw(logits, draws)
    if not isinstance(estimator, FirstOrder):
        return estimator.gradient(f(code.bits), code)
    mean = logits.sigmoid()[None].requires_grad_()
    (slope,) = torch.autograd.grad(f(mean).sum(), mean)
    return estimator.gradient(f(code.bits), code, slope[0])

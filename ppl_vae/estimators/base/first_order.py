"""The first-order control variate around other estimators."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from ppl_vae.estimators.base.estimator import Code, Estimator
from ppl_vae.estimators.base.integrand import Integrand

__all__ = ["FirstOrder"]


class FirstOrder(Estimator):
    r"""Wraps an estimator: f is replaced by what is left of it after its tangent at the mean code.

    With :math:`\mu = \sigma(\eta)`, or the probabilities of the states of categoricals, and the slope
    :math:`s = \nabla_z f(\mu)` of f at relaxed bits,

    .. math:: \nabla_\eta \mathbb{E} f(z) = \nabla_\eta \mathbb{E}[f(z) - s^\top z] + \nabla_\eta\, s^\top \mu:

    the estimator reads the residual, and the linear part has its exact gradient (in the manner of MuProp, Gu,
    Levine, Sutskever and Mnih 2016, section 3). Unbiased, for one more evaluation of f and its gradient for z.

    Arguments:
        estimator: Any estimator of independent bits, or categoricals, that draws them.

    Raises:
        ValueError: For an estimator that gains nothing by it.
    """

    factorised = True
    no_control = "has one"

    def __init__(self, estimator: Estimator) -> None:
        if estimator.no_control is not None:
            raise ValueError(f"{estimator.name} {estimator.no_control}: it takes no control variate")
        self.estimator = estimator
        self.name = f"{estimator.name}+first_order"
        self.least_draws, self.most_bits = estimator.least_draws, estimator.most_bits
        self.independent_latents, self.categorical = estimator.independent_latents, estimator.categorical
        self.single_site, self.between_bits = estimator.single_site, estimator.between_bits

    @property
    def without_control(self) -> Estimator:
        return self.estimator

    def rows(self, draws: int) -> int:
        return self.estimator.rows(draws)

    def draw(self, logits: Tensor, draws: int) -> Code:
        return self.estimator.draw(logits, draws)

    def draw_states(self, logits: Tensor, draws: int) -> Code:
        return self.estimator.draw_states(logits, draws)

    def weights(self, log_q: Tensor) -> Tensor:
        return self.estimator.weights(log_q)

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        return self.estimator.gradient(code, _Residual(code, f)) + code.gradient_of_mean(f.slope_at_mean)


class _Residual(Integrand):
    """f less its tangent at the mean code."""

    def __init__(self, code: Code, f: Integrand) -> None:
        self.code, self.f = code, f

    @cached_property
    def values(self) -> Tensor:
        return self.f.values - (self.code.bits * self.f.slope_at_mean).sum(-1)

    @cached_property
    def slopes(self) -> Tensor:
        return self.f.slopes - self.f.slope_at_mean

    @cached_property
    def slope_at_mean(self) -> Tensor:
        return self.f.slope_at_mean - self.f.slope_at_mean

    def relaxed(self, bits: Tensor) -> tuple[Tensor, Tensor]:
        values, slopes = self.f.relaxed(bits)
        return values - (bits * self.f.slope_at_mean).sum(-1), slopes - self.f.slope_at_mean

    @cached_property
    def flip_differences(self) -> Tensor:
        return self.f.flip_differences - self.f.slope_at_mean

    @cached_property
    def switched_values(self) -> Tensor:
        return self.f.switched_values - self.f.slope_at_mean

"""A control variate around other estimators, and what to use by default."""

from __future__ import annotations

from torch import Tensor

from ppl_vae.estimators.arm import DisARM
from ppl_vae.estimators.base import Code, Estimator

__all__ = ["Auto", "FirstOrder"]


class FirstOrder(Estimator):
    r"""Wraps an estimator: f is replaced by what is left of it after its tangent at the mean code.

    With :math:`\mu = \sigma(\eta)` and the slope :math:`s = \nabla_z f(\mu)` of f at relaxed bits,

    .. math:: \nabla_\eta \mathbb{E} f(z) = \nabla_\eta \mathbb{E}[f(z) - s^\top z] + s \odot \mu \odot (1 - \mu):

    the estimator sees the residual, and the linear part has its exact gradient (in the manner of MuProp, Gu,
    Levine, Sutskever and Mnih 2016, section 3). Unbiased, for one more evaluation of f and its gradient for z.

    Arguments:
        estimator: Any estimator of independent bits that draws them.

    Raises:
        ValueError: For an estimator that is exact, or sees more of f than its values.
    """

    def __init__(self, estimator: Estimator) -> None:
        if not estimator.takes_control:
            why = "is exact" if estimator.exact else f"works from the {estimator.needs} of f"
            raise ValueError(f"{estimator.name} {why}: it takes no control variate")
        self.estimator = estimator
        self.name = f"{estimator.name}+first_order"
        self.factorised = True
        self.least_draws = estimator.least_draws

    def rows(self, draws: int) -> int:
        return self.estimator.rows(draws)

    def graded(self, rows: int) -> int:
        return self.estimator.graded(rows)

    def draw(self, logits: Tensor, draws: int) -> Code:
        return self.estimator.draw(logits, draws)

    def gradient(self, f: Tensor, code: Code, slope: Tensor | None = None) -> Tensor:
        """Gradient for the logits, given the slope of f at the mean code, ``(*batch, bits)``."""
        if slope is None:
            raise ValueError("the first-order control variate needs the slope of f at the mean code")
        mean = code.logits.sigmoid()
        residual = f - (code.bits * slope).sum(-1)
        return self.estimator.gradient(residual, code) + slope * mean * (1 - mean)


class Auto(FirstOrder):
    """Local where the likelihood knows the gain of each bit, else DisARM with the first-order control variate.

    Alone it is the latter; :func:`ppl_vae.objectives.choice.fit_estimator` looks at the pair.
    """

    name = "auto"

    def __init__(self) -> None:
        super().__init__(DisARM())
        self.name = "auto"

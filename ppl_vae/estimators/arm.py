"""ARM: augment-REINFORCE-merge."""

from __future__ import annotations

from torch import Tensor

from ppl_vae.estimators.base.antithetic import Antithetic
from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.base.integrand import Integrand

__all__ = ["ARM"]


class ARM(Antithetic):
    r"""Augment-REINFORCE-merge (Yin and Zhou 2019, theorem 1).

    .. math:: \hat g = \tfrac12 \bigl(f(1_{u > \sigma(-\eta)}) - f(1_{u < \sigma(\eta)})\bigr)(2u - 1)

    with :math:`u` uniform, averaged over the draws; unbiased.

    Example:
        >>> import torch
        >>> bits = ARM().draw(torch.zeros(4, 3), draws=2).bits
        >>> bits.shape
        torch.Size([4, 4, 3])
    """

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        first, second = f.values.chunk(2)
        return (0.5 * (first - second)[..., None] * (2 * code.noise - 1)).mean(0)

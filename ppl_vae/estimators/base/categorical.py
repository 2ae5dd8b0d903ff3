"""The interface of estimators that draw independent categoricals, of which bits are those of two states."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ppl_vae.estimators.base.estimator import Code, Estimator
from ppl_vae.estimators.base.integrand import Integrand

__all__ = ["CategoricalEstimator"]


class CategoricalEstimator(Estimator):
    """Coupled sampling of independent categoricals, and the gradient that belongs to it.

    A subclass writes :meth:`draw_states` and :meth:`gradient_of_states`; bits are served as categoricals of two states.
    """

    factorised = True
    categorical = True

    @abstractmethod
    def gradient_of_states(self, code: Code, f: Integrand) -> Tensor:
        """Estimate of the gradient of the mean of f for the logits of states, ``(*batch, states of all)``.

        It reads values of f or its switched ones; see :meth:`gradient`.
        """

    def draw(self, logits: Tensor, draws: int) -> Code:
        states = self.draw_states(torch.stack([torch.zeros_like(logits), logits], -1), draws)
        return Code(states.bits[..., 1::2], states.noise, logits)

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        if code.groups:
            return self.gradient_of_states(code, f)
        bits, logits = (
            torch.stack(pair, -1).flatten(-2)
            for pair in ((1 - code.bits, code.bits), (torch.zeros_like(code.logits), code.logits))
        )
        states = Code(bits, code.noise, logits, code.differentiated, ((code.logits.shape[-1], 2),))
        return self.gradient_of_states(states, f)[..., 1::2]

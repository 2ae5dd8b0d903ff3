"""The exact gradient, by a sum over all codes."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.distributions.bits import bit_states
from ppl_vae.estimators.base.estimator import Code, Estimator
from ppl_vae.estimators.base.integrand import Integrand

__all__ = ["Enumerate"]


class Enumerate(Estimator):
    r"""The exact gradient, by visiting every state.

    .. math:: \sum_z f(z) \nabla_\eta q_\eta(z)

    Arguments:
        most_bits: Longest code it visits; 12 bits are 4,096 evaluations of f per datum.

    Raises:
        ValueError: On drawing, for more bits than that.
    """

    exact = True
    no_control = "is exact"
    most_bits: int

    def __init__(self, most_bits: int = 12) -> None:
        self.most_bits = most_bits

    def draw(self, logits: Tensor, draws: int = 1) -> Code:
        bits = logits.shape[-1]
        if bits > self.most_bits:
            raise ValueError(f"enumerate visits at most {self.most_bits} bits, got {bits}; use disarm")
        states = bit_states(bits, like=logits)
        states = states.reshape(-1, *[1] * (logits.ndim - 1), bits).expand(-1, *logits.shape)
        return Code(states, states, logits)

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        log_q = -torch.nn.functional.softplus((1 - 2 * code.bits) * code.logits).sum(-1)
        return (self.score_weights(f.values, log_q)[..., None] * (code.bits - code.logits.sigmoid())).sum(0)

    def weights(self, log_q: Tensor) -> Tensor:
        return log_q.exp()

    def score_weights(self, values: Tensor, log_q: Tensor) -> Tensor:
        return self.weights(log_q) * values

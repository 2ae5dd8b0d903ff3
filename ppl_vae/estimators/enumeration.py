"""Estimators that sum over values of bits instead of drawing them."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.distributions.bits import bit_states
from ppl_vae.estimators.base import Code, Estimator

__all__ = ["Enumerate"]


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

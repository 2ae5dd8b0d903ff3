"""REINFORCE from a set of different states."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from ppl_vae.distributions.bits import bit_states
from ppl_vae.estimators.base.estimator import Code, Estimator
from ppl_vae.estimators.base.integrand import Integrand

__all__ = ["UnorderedSet"]

LEAST = -69.0
"""Least log-probability reckoned with: rarer states weigh nothing, but must not divide zero by zero."""


class UnorderedSet(Estimator):
    r"""REINFORCE from states drawn without replacement (Kool, van Hoof and Welling 2020, eq. 17).

    .. math:: \hat g = \sum_{s \in S} q(s) R(S, s) \Bigl(f(s) - \sum_{t \in S} q(t) R_s(S, t) f(t)\Bigr)
        \nabla_\eta \log q(s)

    with the leave-one-out ratio :math:`R(S, s) = p(S \mid s \text{ drawn first}) / p(S)`, and :math:`R_s` that of a
    draw from the states other than s, 1 for t = s. Unbiased; q(s) R(S, s) weigh values of f likewise. No state is
    evaluated twice, and as many draws as there are states give the exact gradient. Ratios are exact: the probabilities
    of all subsets of S are summed, hence at most six draws. All joint states are listed, but f is evaluated at those
    drawn alone.
    """

    name = "unordered_set"
    without_replacement = True
    least_draws = 2
    most_draws = 6
    no_control = "has a baseline of its own"

    def __init__(self) -> None:
        self.most_bits = 12

    def rows(self, draws: int) -> int:
        if draws > self.most_draws:
            raise ValueError(f"{self.name} takes at most {self.most_draws} draws, got {draws}; lower --draws")
        return super().rows(draws)

    def draw(self, logits: Tensor, draws: int) -> Code:
        states = bit_states(logits.shape[-1], like=logits)
        log_q = logits.movedim(-1, 0)
        log_q = torch.tensordot(states, log_q, 1) - torch.nn.functional.softplus(log_q).sum(0)
        bits = states[self.draw_rows(log_q, draws)]
        return Code(bits, bits, logits)

    def draw_rows(self, log_q: Tensor, draws: int) -> Tensor:
        noise = -torch.empty_like(log_q).exponential_().log()
        return (log_q + noise).topk(min(self.rows(draws), len(log_q)), 0).indices

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        log_q = -torch.nn.functional.softplus((1 - 2 * code.bits) * code.logits).sum(-1)
        return (self.score_weights(f.values, log_q)[..., None] * (code.bits - code.logits.sigmoid())).sum(0)

    def weights(self, log_q: Tensor) -> Tensor:
        q, chances = self._chances(log_q)
        ratios = torch.stack([chances[frozenset({s})] for s in range(len(q))]) / chances[frozenset()]
        return (q * ratios).to(log_q.dtype)

    def score_weights(self, values: Tensor, log_q: Tensor) -> Tensor:
        q, chances = self._chances(log_q)
        weights, every = [], range(len(q))
        for s in every:
            first = chances[frozenset({s})]
            others = [q[t] * chances[frozenset({s, t})] / first * (values[t] - values[s]) for t in every if t != s]
            weights.append(-q[s] * first / chances[frozenset()] * sum(others, torch.zeros_like(q[s])))
        return torch.stack(weights).to(values.dtype)

    @staticmethod
    def _chances(log_q: Tensor) -> tuple[Tensor, dict[frozenset[int], Tensor]]:
        """Probabilities of the states, and, by the states drawn so far, that all others of the set come next."""
        q = log_q.double().clamp(min=LEAST).exp()
        count, outside = len(q), (1 - q.sum(0)).clamp(min=0)
        chances = {frozenset(range(count)): torch.ones_like(outside)}
        for size in reversed(range(count)):
            for drawn in map(frozenset, combinations(range(count), size)):
                left = [s for s in range(count) if s not in drawn]
                chances[drawn] = sum(q[s] * chances[drawn | {s}] for s in left) / (sum(q[s] for s in left) + outside)
        return q, chances

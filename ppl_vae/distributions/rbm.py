"""The hidden bits of a restricted Boltzmann machine as a prior, and its normaliser."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ppl_vae.distributions.bits import BitsDistribution

__all__ = ["ENUMERATED", "AnnealedPartition", "RBMPrior", "log_partition"]

ENUMERATED = 20
"""Most bits whose states are all visited for the normaliser."""

BLOCK = 2**12
"""States visited together."""

TEMPERATURES = 1_000
"""Steps of annealing from independent bits to the machine."""

SWEEPS = 100
"""Rounds of Gibbs sampling that separate draws which start at the end of the same chain."""


class RBMPrior(BitsDistribution):
    r"""The hidden bits of a restricted Boltzmann machine, its visible ones summed out.

    .. math:: p(z) = \frac1c \exp(v^\top z) \prod_i \bigl(1 + \exp(W_i z + u_i)\bigr)

    Arguments:
        weight: W, ``(visible, hidden)``.
        visible: u, ``(visible,)``.
        hidden: v, ``(hidden,)``.
        log_c: The log-normaliser and its standard error; by default :func:`log_partition` gives them.
        annealed: Chains of this machine, from whose ends up to as many draws begin; by default there are others for
            each call.

    Example:
        >>> fn = RBMPrior(torch.zeros(3, 2), torch.zeros(3), torch.zeros(2))
        >>> fn.log_prob(torch.tensor([0.0, 1.0])).exp()
        tensor(0.2500)
    """

    def __init__(
        self,
        weight: Tensor,
        visible: Tensor,
        hidden: Tensor,
        log_c: tuple[Tensor, float] | None = None,
        annealed: AnnealedPartition | None = None,
    ) -> None:
        self.weight, self.visible, self.hidden, self.annealed = weight, visible, hidden, annealed
        self.log_c, self.log_prob_se = log_partition(weight, visible, hidden) if log_c is None else log_c
        super().__init__(torch.Size(), hidden.shape, hidden)

    @property
    def has_enumerate_support(self) -> bool:
        """Whether all codes are visited for the normaliser, and so for the evidence."""
        return self.bits <= ENUMERATED

    def log_prob(self, value: Tensor) -> Tensor:
        return self._whole(log_unnormalised(value, self.weight, self.visible, self.hidden) - self.log_c)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Exact draws where either side has at most 20 bits; else Gibbs sampling from the ends of annealed chains."""
        shape = self._lead(sample_shape)
        parts = (self.weight, self.visible, self.hidden)
        count = max(1, shape.numel())
        if len(self.hidden) <= min(ENUMERATED, len(self.visible)):
            z = _draw(*parts, count)
        elif len(self.visible) <= ENUMERATED:
            x = _draw(self.weight.T, self.hidden, self.visible, count)
            z = torch.bernoulli((x @ self.weight + self.hidden).sigmoid())
        else:
            annealed = self.annealed
            if annealed is None or count > annealed.chains:
                annealed = AnnealedPartition(*parts, chains=min(1_000, max(200, count)))
            z = annealed.ends(count)
            for _ in range(SWEEPS):
                z = _sweep(z, *parts)
        return z[: shape.numel()].reshape(*shape, self.bits)


def _draw(weight: Tensor, visible: Tensor, hidden: Tensor, count: int) -> Tensor:
    """Exact draws of the hidden bits, ``(count, hidden)``."""
    starts = range(0, 2 ** len(hidden), BLOCK)
    logits = torch.cat([log_unnormalised(_states(hidden, start), weight, visible, hidden) for start in starts])
    return _codes(torch.multinomial(logits.softmax(0), count, replacement=True), hidden)


def _sweep(z: Tensor, weight: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
    """One Gibbs sweep: the visible bits drawn given the hidden ones, and these given them."""
    x = torch.bernoulli((z @ weight.T + visible).sigmoid())
    return torch.bernoulli((x @ weight + hidden).sigmoid())


def log_unnormalised(z: Tensor, weight: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
    r"""Log-probability of hidden bits but for the normaliser, ``(...)``: minus their free energy.

    .. math:: v^\top z + \sum_i \log(1 + \exp(W_i z + u_i))
    """
    return z @ hidden + functional.softplus(z @ weight.T + visible).sum(-1)


def log_partition(
    weight: Tensor, visible: Tensor, hidden: Tensor, *, chains: int = 200, temperatures: int = TEMPERATURES
) -> tuple[Tensor, float]:
    r"""Log-normaliser of a restricted Boltzmann machine, a sum over all visible and all hidden bits.

    .. math:: \log c = \log \sum_{x, z} \exp(x^\top W z + u^\top x + v^\top z)

    Exact where either side has at most 20 bits: the other is summed in closed form, state by state. Beyond, annealed
    importance sampling from independent bits to the machine (Salakhutdinov and Murray 2008, section 4): the logarithm
    of an unbiased estimate of c, and as its gradient the statistics of the chains' ends by their weights.

    Arguments:
        weight: W, ``(visible, hidden)``.
        visible: u, ``(visible,)``.
        hidden: v, ``(hidden,)``.
        chains: Number of annealed chains.
        temperatures: Number of annealing steps.

    Returns:
        The normaliser in nats, a scalar with its gradient, and its standard error, 0 where it is exact.

    Example:
        >>> log_c, error = log_partition(torch.zeros(3, 2), torch.zeros(3), torch.zeros(2))
        >>> round(log_c.item() / log(2), 4), error  # of 2^5 states
        (5.0, 0.0)
    """
    if min(len(visible), len(hidden)) <= ENUMERATED:
        if len(visible) < len(hidden):
            weight, visible, hidden = weight.T, hidden, visible
        parts = [
            checkpoint(_log_sum, start, weight, visible, hidden, use_reentrant=False)
            for start in range(0, 2 ** len(hidden), BLOCK)
        ]
        return torch.stack(parts).logsumexp(0), 0.0
    return AnnealedPartition(weight, visible, hidden, chains=chains, temperatures=temperatures).at(
        weight, visible, hidden
    )


class AnnealedPartition:
    """Annealed chains of a machine, which give its log-normaliser (:func:`log_partition`) as often as it is asked for.

    Arguments:
        weight: W, ``(visible, hidden)``.
        visible: u, ``(visible,)``.
        hidden: v, ``(hidden,)``.
        chains: Number of annealed chains.
        temperatures: Number of annealing steps; None is 1,000.
    """

    @torch.no_grad()
    def __init__(
        self, weight: Tensor, visible: Tensor, hidden: Tensor, *, chains: int = 200, temperatures: int | None = None
    ) -> None:
        self.chains = chains
        self._ends, log_weights = _anneal(weight, visible, hidden, chains, temperatures or TEMPERATURES)
        self._value, self._share = log_weights.logsumexp(0) - log(chains), log_weights.softmax(0)
        # Of the logarithm, by the delta method.
        self._error = ((self._share * chains).std() / chains**0.5).item()

    def ends(self, count: int) -> Tensor:
        """Ends of chains drawn by their weights, ``(count, hidden)``."""
        return self._ends[torch.multinomial(self._share, count, replacement=True)]

    def at(self, weight: Tensor, visible: Tensor, hidden: Tensor) -> tuple[Tensor, float]:
        """The log-normaliser with its gradient in the parameters, of the values that the chains had, and its error."""
        surrogate = (self._share * log_unnormalised(self._ends, weight, visible, hidden)).sum()
        return self._value + surrogate - surrogate.detach(), self._error


def _log_sum(start: int, weight: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
    return log_unnormalised(_states(hidden, start), weight, visible, hidden).logsumexp(0)


def _states(like: Tensor, start: int) -> Tensor:
    """A block of states from one on, ``(states, bits)``."""
    return _codes(torch.arange(start, min(2 ** len(like), start + BLOCK), device=like.device), like)


def _codes(numbers: Tensor, like: Tensor) -> Tensor:
    places = torch.arange(len(like) - 1, -1, -1, device=like.device)
    return (numbers[:, None] >> places & 1).to(like.dtype)


def _anneal(weight: Tensor, visible: Tensor, hidden: Tensor, chains: int, temperatures: int) -> tuple[Tensor, Tensor]:
    """Ends of the chains, ``(chains, hidden)``, and their log-weights, whose mean in the exponent estimates c."""
    z = torch.bernoulli(hidden.sigmoid().expand(chains, -1))
    total = functional.softplus(visible).sum() + functional.softplus(hidden).sum() + z.new_zeros(chains)
    before = torch.zeros_like(weight)
    for power in torch.linspace(0, 1, temperatures + 1).tolist()[1:]:
        now = power * weight
        total += log_unnormalised(z, now, visible, hidden) - log_unnormalised(z, before, visible, hidden)
        z, before = _sweep(z, now, visible, hidden), now
    return z, total

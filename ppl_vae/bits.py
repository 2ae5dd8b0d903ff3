"""Codes of bits: all of them, and distributions over them that do not factorise."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional

__all__ = ["UNIVERSAL", "AutoregressiveBits", "BitsDistribution", "JointBits", "bit_states"]


def bit_states(bits: int, *, like: Tensor | None = None) -> Tensor:
    """All codes of so many bits, ``(2**bits, bits)``, counting up with the last bit fastest.

    Example:
        >>> bit_states(2).tolist()
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    device = None if like is None else like.device
    dtype = torch.get_default_dtype() if like is None else like.dtype
    index = torch.arange(2**bits, device=device)[:, None]
    return (index >> torch.arange(bits - 1, -1, -1, device=device) & 1).to(dtype)


class BitsDistribution(TorchDistribution):
    """Any distribution whose values are codes of bits; guides over bits serve a prior of this kind."""


class JointBits(BitsDistribution):
    r"""Any distribution over the joint states of a few bits: a categorical whose values are codes.

    Arguments:
        logits: Unnormalised log-probabilities of the states in the order of :func:`bit_states`,
            ``(..., 2**bits)``.
        shape: Of one code; by default ``(bits,)``.

    Example:
        >>> JointBits(torch.tensor([0.0, 0.0, 0.0, 50.0])).sample()
        tensor([1., 1.])
    """

    arg_constraints = {"logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(self, logits: Tensor, shape: torch.Size | None = None, *, validate_args: bool | None = None) -> None:
        bits = (logits.shape[-1] - 1).bit_length()
        if logits.shape[-1] != 2**bits:
            raise ValueError(f"the joint states of bits number a power of two, got {logits.shape[-1]} logits")
        self.logits = logits.log_softmax(-1)
        super().__init__(logits.shape[:-1], torch.Size((bits,)) if shape is None else shape, validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return constraints.independent(constraints.boolean, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(JointBits, _instance)
        new.logits = self.logits.expand(*batch_shape, -1)
        super(JointBits, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        return new

    def sample(self, sample_shape: Any = ()) -> Tensor:
        states = torch.distributions.Categorical(logits=self.logits).sample(sample_shape)
        return bit_states(self.event_shape.numel(), like=self.logits)[states].reshape(*states.shape, *self.event_shape)

    def numbers(self, value: Tensor) -> Tensor:
        """Numbers of codes ``(..., *event)`` in the order of :func:`bit_states`, ``(...)``."""
        value = value.reshape(*value.shape[: value.ndim - len(self.event_shape)], -1)
        powers = 2 ** torch.arange(value.shape[-1] - 1, -1, -1, device=value.device)
        return (value.long() * powers).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        states = self.numbers(value)
        shape = torch.broadcast_shapes(states.shape, self.batch_shape)
        logits = self.logits.expand(*shape, -1)
        return logits.gather(-1, states.expand(shape)[..., None])[..., 0]

    def enumerate_support(self, expand: bool = True) -> Tensor:
        states = bit_states(self.event_shape.numel(), like=self.logits)
        states = states.reshape(-1, *[1] * len(self.batch_shape), *self.event_shape)
        return states.expand(-1, *self.batch_shape, *self.event_shape) if expand else states


class AutoregressiveBits(BitsDistribution):
    r"""Bits of which each depends on all before it.

    .. math:: \log q(z) = \sum_j \log \mathrm{Bernoulli}(z_j \mid \mathrm{logits}_j(z_1, \dots, z_{j-1}))

    Arguments:
        network: Maps codes ``(..., bits)`` to logits ``(..., bits)``; logit ``j`` may read only bits before
            ``j``. It broadcasts against ``batch_shape``.
        batch_shape: Of the distribution.
        bits: The number of bits.
        like: A tensor of the device and type of the codes.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.independent(constraints.boolean, 1)

    def __init__(self, network: Any, batch_shape: torch.Size, bits: int, like: Tensor) -> None:
        self.network, self.like = network, like
        super().__init__(batch_shape, torch.Size((bits,)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> AutoregressiveBits:
        return AutoregressiveBits(self.network, torch.Size(batch_shape), self.event_shape[0], self.like)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        code = self.like.new_zeros(*sample_shape, *self.batch_shape, *self.event_shape)
        for bit in range(self.event_shape[0]):
            code[..., bit] = torch.bernoulli(self.network(code)[..., bit].sigmoid())
        return code

    def log_prob(self, value: Tensor) -> Tensor:
        logits = self.network(value)
        return -functional.softplus((1 - 2 * value) * logits).sum(-1)


UNIVERSAL = (JointBits, AutoregressiveBits)
"""Families that hold every distribution of a code."""

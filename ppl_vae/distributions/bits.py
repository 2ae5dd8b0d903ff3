"""Codes of bits: their enumeration, and distributions over them that do not factorise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional

from ppl_vae.distributions.shapes import broadcast_shapes

__all__ = ["UNIVERSAL", "AutoregressiveBits", "BitsDistribution", "JointBits", "TreeBits", "bit_flips", "bit_states"]

FEW = 12
"""Longest code whose distribution lists all its values, 4,096 of them."""


def bit_states(bits: int, *, like: Tensor | None = None) -> Tensor:
    """All codes of this length, ``(2**bits, bits)``, counting up with the last bit fastest.

    Example:
        >>> bit_states(2).tolist()
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    device = None if like is None else like.device
    dtype = torch.get_default_dtype() if like is None else like.dtype
    index = torch.arange(2**bits, device=device)[:, None]
    return (index >> torch.arange(bits - 1, -1, -1, device=device) & 1).to(dtype)


def bit_flips(bits: Tensor) -> Tensor:
    """Codes with one bit flipped, for each bit: ``(rows, *batch, bits)`` to ``(bits, rows, *batch, bits)``.

    Example:
        >>> bit_flips(torch.tensor([[0.0, 1.0]])).tolist()
        [[[1.0, 1.0]], [[0.0, 0.0]]]
    """
    size = bits.shape[-1]
    which = torch.eye(size, dtype=bits.dtype, device=bits.device).reshape(size, *[1] * (bits.ndim - 1), size)
    return (bits - which).abs()


class BitsDistribution(TorchDistribution):
    """A distribution over codes of bits; every guide of bits supports a prior of this kind.

    Arguments:
        batch_shape: Batch shape of the distribution.
        shape: Shape of one code.
        like: A tensor with the device and type of the codes.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    log_prob_se: float = 0.0
    """Standard error of every ``log_prob``, the same for all codes, where its normaliser is only an estimate."""

    def __init__(self, batch_shape: torch.Size, shape: torch.Size, like: Tensor) -> None:
        self.like = like
        super().__init__(batch_shape, shape, validate_args=False)

    @property
    def bits(self) -> int:
        """The number of bits of a code."""
        bits: int = self.event_shape.numel()
        return bits

    @property
    def has_enumerate_support(self) -> bool:
        """Whether codes are short enough for all of them to be listed."""
        return self.bits <= FEW

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        support: constraints.Constraint = constraints.independent(constraints.boolean, len(self.event_shape))
        return support

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """The same distribution under a larger batch; the parameters keep their size and broadcast."""
        new = copy(self)
        new._batch_shape = torch.Size(batch_shape)
        return new

    def enumerate_support(self, expand: bool = True) -> Tensor:
        states = bit_states(self.bits, like=self.like)
        states = states.reshape(-1, *[1] * len(self.batch_shape), *self.event_shape)
        return states.expand(-1, *self.batch_shape, *self.event_shape) if expand else states

    def flat(self, value: Tensor) -> Tensor:
        """Codes ``(..., *event)`` as ``(..., bits)``."""
        return value.reshape(*value.shape[: value.ndim - len(self.event_shape)], self.bits)

    def _shaped(self, code: Tensor) -> Tensor:
        return code.reshape(*code.shape[:-1], *self.event_shape)

    def _lead(self, sample_shape: Sequence[int]) -> torch.Size:
        return torch.Size((*sample_shape, *self.batch_shape))

    def _whole(self, values: Tensor) -> Tensor:
        return values.expand(broadcast_shapes(values.shape, self.batch_shape))


class JointBits(BitsDistribution):
    r"""A distribution over the joint states of a few bits: a categorical whose values are codes.

    Arguments:
        logits: Unnormalised log-probabilities of the states in the order of :func:`bit_states`,
            ``(..., 2**bits)``.
        shape: Shape of one code; by default ``(bits,)``.

    Example:
        >>> JointBits(torch.tensor([0.0, 0.0, 0.0, 50.0])).sample()
        tensor([1., 1.])
    """

    def __init__(self, logits: Tensor, shape: torch.Size | None = None) -> None:
        bits = (logits.shape[-1] - 1).bit_length()
        if logits.shape[-1] != 2**bits:
            raise ValueError(f"the joint states of bits number a power of two, got {logits.shape[-1]} logits")
        self.logits = logits.log_softmax(-1)
        super().__init__(logits.shape[:-1], torch.Size((bits,)) if shape is None else shape, logits)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        logits = self.logits.expand(*self.batch_shape, -1)
        states = torch.distributions.Categorical(logits=logits).sample(sample_shape)
        return self._shaped(bit_states(self.bits, like=self.logits)[states])

    def numbers(self, value: Tensor) -> Tensor:
        """Numbers of codes ``(..., *event)`` in the order of :func:`bit_states`, ``(...)``."""
        powers = 2 ** torch.arange(self.bits - 1, -1, -1, device=value.device)
        return (self.flat(value).long() * powers).sum(-1)

    @property
    def has_enumerate_support(self) -> bool:
        """Always: the table lists the codes anyway."""
        return True

    def log_prob(self, value: Tensor) -> Tensor:
        states = self.numbers(value)
        rows = self.logits.shape[:-1].numel()
        if rows == 1:
            return self._whole(self.logits.reshape(-1)[states])
        if states.ndim == 2 and states.shape[1] == 1 and self.batch_shape[-1:] == (rows,):
            # All data share the codes: columns are taken, and nothing of size draws x data x states is formed.
            return self._whole(self.logits.reshape(rows, -1).index_select(1, states[:, 0]).T)
        shape = broadcast_shapes(states.shape, self.batch_shape)
        logits = self.logits.expand(*shape, -1)
        return logits.gather(-1, states.expand(shape)[..., None])[..., 0]


class TreeBits(BitsDistribution):
    r"""Bits of which each, but for the first, depends on one before it, its parent.

    .. math:: \log q(z) = \sum_j \log \mathrm{Bernoulli}\bigl(z_j \mid \mathrm{logit} = a_j + c_j z_{p(j)}\bigr)

    For a given tree every such distribution is a member. They are an exponential family with statistics :math:`z_j` and
    :math:`z_j z_{p(j)}`.

    Arguments:
        logits: a, ``(..., bits)``: each bit's logit where its parent is zero.
        coupling: c, ``(..., bits - 1)``, of all bits but the first.
        parents: p, of all bits but the first, ``(bits - 1,)``.
        shape: Shape of one code; by default ``(bits,)``.

    Raises:
        ValueError: If a parent does not come before its child.

    Example:
        >>> pair = TreeBits(torch.tensor([0.0, -9.0]), torch.tensor([18.0]), torch.tensor([0]))
        >>> pair.log_prob(bit_states(2)).exp().round(decimals=3).tolist()  # the second bit copies the first
        [0.5, 0.0, 0.0, 0.5]
    """

    def __init__(self, logits: Tensor, coupling: Tensor, parents: Tensor, shape: torch.Size | None = None) -> None:
        wrong = (parents < 0) | (parents > torch.arange(len(parents), device=parents.device))
        if wrong.any():
            child = int(wrong.nonzero()[0]) + 1
            raise ValueError(f"a parent comes before its child, but bit {child} has {int(parents[child - 1])}")
        self.logits, self.coupling, self.parents = logits, coupling, parents
        super().__init__(logits.shape[:-1], logits.shape[-1:] if shape is None else shape, logits)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        lead = self._lead(sample_shape)
        noise = torch.rand(*lead, self.bits, dtype=self.like.dtype, device=self.like.device)
        bits = [noise[..., 0] < self.logits[..., 0].sigmoid()]
        for bit, parent in enumerate(self.parents.tolist()):
            logit = self.logits[..., bit + 1] + self.coupling[..., bit] * bits[parent]
            bits.append(noise[..., bit + 1] < logit.sigmoid())
        return self._shaped(torch.stack(bits, -1).to(self.like))

    def statistics(self, value: Tensor) -> Tensor:
        """Bits, and products of each with its parent, ``(..., 2 bits - 1)``."""
        code = self.flat(value)
        return torch.cat([code, code[..., 1:] * code[..., self.parents]], -1)

    def natural(self) -> Tensor:
        """Natural parameters, by which the statistics are multiplied, ``(..., 2 bits - 1)``."""
        below = self.logits[..., 1:]
        pull = functional.softplus(below + self.coupling) - functional.softplus(below)
        return torch.cat([self.logits.index_add(-1, self.parents, -pull), self.coupling], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        products = torch.einsum("...k,...k->...", self.statistics(value), self.natural())
        return self._whole(products - functional.softplus(self.logits).sum(-1))


class AutoregressiveBits(BitsDistribution):
    r"""Bits of which each depends on all before it.

    .. math:: \log q(z) = \sum_j \log \mathrm{Bernoulli}(z_j \mid \mathrm{logits}_j(z_1, \dots, z_{j-1}))

    Arguments:
        network: Maps codes ``(..., bits)`` to logits ``(..., bits)``; logit ``j`` may read only bits before
            ``j``. It broadcasts against ``batch_shape``.
        batch_shape: Batch shape of the distribution.
        shape: Shape of one code, or its number of bits.
        like: A tensor with the device and type of the codes.
    """

    def __init__(
        self, network: Callable[[Tensor], Tensor], batch_shape: torch.Size, shape: torch.Size | int, like: Tensor
    ) -> None:
        self.network = network
        super().__init__(batch_shape, torch.Size((shape,)) if isinstance(shape, int) else shape, like)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        code = self.like.new_zeros(*self._lead(sample_shape), self.bits)
        for bit in range(self.bits):
            code[..., bit] = torch.bernoulli(self.network(code)[..., bit].sigmoid())
        return self._shaped(code)

    def log_prob(self, value: Tensor) -> Tensor:
        code = self.flat(value)
        return self._whole(-functional.softplus((1 - 2 * code) * self.network(code)).sum(-1))


UNIVERSAL = (JointBits, AutoregressiveBits)
"""Families that hold every distribution of a code."""

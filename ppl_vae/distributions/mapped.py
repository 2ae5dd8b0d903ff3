"""Distributions of real numbers, mapped onto the support of a latent."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution, biject_to, constraints

__all__ = ["Mapped", "MappedNormal"]


class Mapped(dist.TransformedDistribution):  # type: ignore[misc]
    r"""The distribution of :math:`T(\epsilon)`, with real numbers :math:`\epsilon` and T the map onto a support.

    T is ``torch.distributions.biject_to(support)``: the exponential of positive numbers, the logistic function of an
    interval, stick breaking of a simplex (Kucukelbir et al. 2017, section 2.3).

    Arguments:
        fn: The distribution of the numbers.
        onto: The support, with all dimensions of an event.
    """

    def __init__(self, fn: Distribution, onto: constraints.Constraint) -> None:
        # The cache spares the inverse, and its rounding at the ends of the support, where a draw is scored.
        super().__init__(fn, [biject_to(onto).with_cache(1)])
        self.onto = onto

    @property
    def support(self) -> constraints.Constraint:
        """What the numbers are mapped onto; the codomain of torch's composed maps is sometimes larger."""
        return self.onto

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Mapped:
        return Mapped(self.base_dist.expand(torch.Size(batch_shape)), self.onto)


class MappedNormal(Mapped):
    """A normal of independent numbers, mapped onto a support.

    Arguments:
        loc: Means of the numbers, ``(*batch, *inner)``; the inner shape is that of the map's argument.
        scale: Their standard deviations, of the same shape.
        onto: The support, with all dimensions of an event.

    Example:
        >>> fn = MappedNormal(torch.zeros(4, 2), torch.ones(4, 2), constraints.simplex)
        >>> fn.batch_shape, fn.event_shape
        (torch.Size([4]), torch.Size([3]))
    """

    def __init__(self, loc: Tensor, scale: Tensor, onto: constraints.Constraint) -> None:
        self.loc, self.scale, self.inner_dims = loc, scale, biject_to(onto).domain.event_dim
        super().__init__(dist.Normal(loc, scale).to_event(self.inner_dims), onto)

    def numbers(self, value: Tensor) -> Tensor:
        """The normal numbers that are mapped to values."""
        result: Tensor = self.transforms[0].inv(value)
        return result

    def log_base(self, value: Tensor) -> Tensor:
        """Log of the density of a value over that of its numbers, ``(*batch,)``, in nats."""
        change: Tensor = self.transforms[0].log_abs_det_jacobian(self.numbers(value), value)
        return -change

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> MappedNormal:
        shape = torch.Size(batch_shape) + self.loc.shape[self.loc.ndim - self.inner_dims :]
        return MappedNormal(self.loc.expand(shape), self.scale.expand(shape), self.onto)

"""Mixtures of independent bits and of independent normals."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from math import log, pi
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Categorical, constraints
from torch.nn import functional

from ppl_vae.distributions.bits import BitsDistribution
from ppl_vae.distributions.shapes import broadcast_shapes

__all__ = ["MixtureOfBits", "MixtureOfNormals"]


class MixtureOfBits(BitsDistribution):
    r"""A mixture of independent bits (Jaakkola and Jordan 1998, eq. 11).

    .. math:: q(z) = \sum_k w_k \prod_j \mathrm{Bernoulli}(z_j \mid \mathrm{logit} = \eta_{kj})

    Arguments:
        log_weights: Unnormalised log w, ``(..., components)``.
        logits: ``(..., components, bits)``.
        shape: Of one code; by default ``(bits,)``.

    Example:
        >>> two = MixtureOfBits(torch.zeros(2), torch.tensor([[-9.0, -9.0], [9.0, 9.0]]))
        >>> two.log_prob(torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])).exp().round(decimals=3).tolist()
        [0.5, 0.0, 0.5]
    """

    def __init__(self, log_weights: Tensor, logits: Tensor, shape: torch.Size | None = None) -> None:
        self.log_weights, self.logits = log_weights.log_softmax(-1), logits
        super().__init__(logits.shape[:-2], logits.shape[-1:] if shape is None else shape, logits)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        lead = self._lead(sample_shape)
        logits = _of_drawn_component(self.log_weights, lead, self.logits)[0]
        return self._shaped(torch.bernoulli(logits.sigmoid()))

    def log_prob(self, value: Tensor) -> Tensor:
        # One product of matrices where every code meets every datum.
        products = torch.einsum("...b,...kb->...k", self.flat(value), self.logits)
        parts = products + (self.log_weights - functional.softplus(self.logits).sum(-1))
        return self._whole(parts.logsumexp(-1))


class MixtureOfNormals(TorchDistribution):
    r"""A mixture of independent normals, with pathwise derivatives of its draws.

    .. math:: q(z) = \sum_k w_k \prod_j \mathrm{Normal}(z_j \mid \mu_{kj}, \sigma_{kj})

    A draw moves with the parameters so that each of its conditional distribution functions keeps its value:
    :math:`\mathrm{d} z_j = -\mathrm{d} F(z_j \mid z_{<j}) / q(z_j \mid z_{<j})` (Figurnov, Mohamed and Mnih 2018,
    section 3 and eq. 9).

    Arguments:
        log_weights: Unnormalised log w, ``(..., components)``.
        loc: ``(..., components, size)``.
        scale: ``(..., components, size)``.

    Example:
        >>> MixtureOfNormals(torch.zeros(2), torch.zeros(2, 3), torch.ones(2, 3)).log_prob(torch.zeros(3))
        tensor(-2.7568)
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, log_weights: Tensor, loc: Tensor, scale: Tensor) -> None:
        self.log_weights, self.loc, self.scale = log_weights.log_softmax(-1), loc, scale
        super().__init__(loc.shape[:-2], loc.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        new = copy(self)
        new._batch_shape = torch.Size(batch_shape)
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        parts = self.log_weights + _log_density(value[..., None, :], self.loc, self.scale).sum(-1)
        result = parts.logsumexp(-1)
        return result.expand(broadcast_shapes(result.shape, self.batch_shape))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        lead = torch.Size(sample_shape) + self.batch_shape
        with torch.no_grad():
            loc, scale = _of_drawn_component(self.log_weights, lead, self.loc, self.scale)
            drawn = loc + scale * torch.randn_like(loc)
        if not (torch.is_grad_enabled() and any(p.requires_grad for p in (self.log_weights, self.loc, self.scale))):
            return drawn
        numbers, weights = list[Tensor](), self.log_weights
        for fixed, loc, scale in zip(drawn.unbind(-1), self.loc.unbind(-1), self.scale.unbind(-1), strict=True):
            probabilities = weights.softmax(-1)  # of the components, given the numbers before
            level = (probabilities * torch.special.ndtr((fixed[..., None] - loc) / scale)).sum(-1)
            density = (probabilities * _log_density(fixed[..., None], loc, scale).exp()).sum(-1).detach()
            numbers.append(fixed - (level - level.detach()) / density)
            weights = weights + _log_density(numbers[-1][..., None], loc, scale)
        return torch.stack(numbers, -1)


def _log_density(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return -((value - loc) / scale).square() / 2 - scale.log() - log(2 * pi) / 2


def _of_drawn_component(log_weights: Tensor, lead: torch.Size, *parameters: Tensor) -> list[Tensor]:
    """Parameters ``(*lead, size)`` of a component drawn for each draw, from ``(..., components, size)``."""
    which = Categorical(logits=log_weights.expand(*lead, -1)).sample()[..., None, None]
    return [
        p.expand(*lead, *p.shape[-2:]).gather(-2, which.expand(*lead, 1, p.shape[-1]))[..., 0, :] for p in parameters
    ]

"""Canonical forms of Pyro's exponential families: a table of formulas, one row per class of distributions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import log, pi
from typing import Any

import torch
from torch import Tensor
from torch import distributions as families
from torch.distributions import Distribution
from torch.nn import functional

from ppl_vae.distributions.bits import JointBits, TreeBits
from ppl_vae.distributions.mapped import MappedNormal
from ppl_vae.distributions.multinomial import PackedMultinomial

__all__ = ["FORMS", "CanonicalForm", "Family"]


class Family(StrEnum):
    """Families of distributions, by the name that messages give them; those in :data:`FORMS` are exponential."""

    BERNOULLI = "Bernoulli"
    CATEGORICAL = "categorical"
    ONE_HOT = "one-hot categorical"
    NORMAL = "normal"
    LOG_NORMAL = "LogNormal"
    MULTIVARIATE_NORMAL = "multivariate normal"
    POISSON = "Poisson"
    GAMMA = "Gamma"
    EXPONENTIAL = "Exponential"
    BETA = "Beta"
    DIRICHLET = "Dirichlet"
    GEOMETRIC = "Geometric"
    NEGATIVE_BINOMIAL = "NegativeBinomial"
    BINOMIAL = "Binomial"
    VON_MISES = "VonMises"
    MAPPED_NORMAL = "mapped normal"
    JOINT_BITS = "JointBits"
    TREE_OF_BITS = "tree of bits"
    MULTINOMIAL = "PackedMultinomial"


Categorical = families.Categorical | families.OneHotCategorical | JointBits
Gaussian = families.Normal | families.LogNormal | MappedNormal


def _zero(fn: Distribution, value: Tensor) -> Tensor:
    kind = value.dtype if value.is_floating_point() else torch.get_default_dtype()
    return value.new_zeros(value.shape[: value.ndim - len(fn.event_shape)], dtype=kind)


@dataclass(frozen=True)
class CanonicalForm:
    """The functions of one family with ``k`` statistics; each takes the distribution inside all wrappers.

    Arguments:
        family: The family.
        statistics: T, from distribution and value ``(..., *event)`` to ``(..., k)``.
        natural: Natural parameters, ``(*batch, k)``.
        normaliser: A, ``(*batch,)``.
        log_base: log h, from distribution and value to ``(...)``.
    """

    family: Family
    statistics: Callable[[Any, Any], Tensor]
    natural: Callable[[Any], Tensor]
    normaliser: Callable[[Any], Tensor]
    log_base: Callable[[Any, Any], Tensor] = _zero


def _states(inner: Categorical, value: Tensor) -> Tensor:
    """Indicators of all states but the first, from the number of a state."""
    return functional.one_hot(value.long(), inner.logits.shape[-1])[..., 1:].to(inner.logits.dtype)


def _against_first(inner: Categorical) -> Tensor:
    return inner.logits[..., 1:] - inner.logits[..., :1]


def _first(inner: Categorical) -> Tensor:
    """A of logits that are normalised: minus the log-probability of the first state."""
    return -inner.logits[..., 0]


def _gaussian(value: Tensor) -> Tensor:
    return torch.stack([value, value.square()], -1)


def _gaussian_natural(inner: Gaussian) -> Tensor:
    precision = inner.scale**-2
    return torch.stack([inner.loc * precision, -precision / 2], -1)


def _gaussian_normaliser(inner: Gaussian) -> Tensor:
    return (inner.loc / inner.scale).square() / 2 + inner.scale.log() + log(2 * pi) / 2


def _lower_triangle(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = torch.tril_indices(size, size, device=like.device)
    return rows, columns


def _products(inner: families.MultivariateNormal, value: Tensor) -> Tensor:
    rows, columns = _lower_triangle(value.shape[-1], value)
    return torch.cat([value, value[..., rows] * value[..., columns]], -1)


def _products_natural(inner: families.MultivariateNormal) -> Tensor:
    precision = torch.cholesky_inverse(inner._unbroadcasted_scale_tril).expand(*inner.batch_shape, -1, -1)
    linear = (precision @ inner.loc[..., None])[..., 0]
    rows, columns = _lower_triangle(linear.shape[-1], linear)
    # A product off the diagonal stands twice in z'Pz.
    weight = torch.where(rows == columns, -0.5, -1.0).to(linear)
    return torch.cat([linear, precision[..., rows, columns] * weight], -1)


def _products_normaliser(inner: families.MultivariateNormal) -> Tensor:
    scale = inner._unbroadcasted_scale_tril.expand(*inner.batch_shape, -1, -1)
    whitened: Tensor = torch.linalg.solve_triangular(scale, inner.loc[..., None], upper=False)[..., 0]
    logdet = scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return whitened.square().sum(-1) / 2 + logdet + inner.loc.shape[-1] * log(2 * pi) / 2


def _words(inner: PackedMultinomial) -> Tensor:
    """Log-probabilities of the words; given the length they are natural parameters, and A is zero."""
    logits = inner.logits
    if logits is None:
        assert inner.hidden is not None and inner.weight is not None
        logits = functional.linear(inner.hidden, inner.weight, inner.bias)
    return logits.log_softmax(-1)


def _beta(inner: families.Beta) -> Tensor:
    a, b = inner.concentration1, inner.concentration0
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def _dirichlet(inner: families.Dirichlet) -> Tensor:
    a = inner.concentration
    return torch.lgamma(a).sum(-1) - torch.lgamma(a.sum(-1))


def _direction(inner: families.VonMises) -> Tensor:
    return torch.stack([inner.loc.cos(), inner.loc.sin()], -1) * inner.concentration[..., None]


def _per_event(inner: MappedNormal, values: Tensor) -> Tensor:
    """Values of all numbers of an event side by side, from ``(*batch, *inner, k)``."""
    lead = values.ndim - 1 - inner.inner_dims
    return values.reshape(*values.shape[:lead], -1)


FORMS: dict[type, CanonicalForm] = {
    families.Bernoulli: CanonicalForm(
        Family.BERNOULLI,
        lambda fn, v: v[..., None],
        lambda fn: fn.logits[..., None],
        lambda fn: functional.softplus(fn.logits),
    ),
    families.Categorical: CanonicalForm(Family.CATEGORICAL, _states, _against_first, _first),
    families.OneHotCategorical: CanonicalForm(Family.ONE_HOT, lambda fn, v: v[..., 1:], _against_first, _first),
    families.Normal: CanonicalForm(Family.NORMAL, lambda fn, v: _gaussian(v), _gaussian_natural, _gaussian_normaliser),
    families.LogNormal: CanonicalForm(
        Family.LOG_NORMAL,
        lambda fn, v: _gaussian(v.log()),
        _gaussian_natural,
        _gaussian_normaliser,
        lambda fn, v: -v.log(),
    ),
    families.MultivariateNormal: CanonicalForm(
        Family.MULTIVARIATE_NORMAL, _products, _products_natural, _products_normaliser
    ),
    families.Poisson: CanonicalForm(
        Family.POISSON,
        lambda fn, v: v[..., None],
        lambda fn: fn.rate.log()[..., None],
        lambda fn: fn.rate,
        lambda fn, v: -torch.lgamma(v + 1),
    ),
    families.Gamma: CanonicalForm(
        Family.GAMMA,
        lambda fn, v: torch.stack([v.log(), v], -1),
        lambda fn: torch.stack([fn.concentration - 1, -fn.rate], -1),
        lambda fn: torch.lgamma(fn.concentration) - fn.concentration * fn.rate.log(),
    ),
    families.Exponential: CanonicalForm(
        Family.EXPONENTIAL, lambda fn, v: v[..., None], lambda fn: -fn.rate[..., None], lambda fn: -fn.rate.log()
    ),
    families.Beta: CanonicalForm(
        Family.BETA,
        lambda fn, v: torch.stack([v.log(), torch.log1p(-v)], -1),
        lambda fn: torch.stack([fn.concentration1 - 1, fn.concentration0 - 1], -1),
        _beta,
    ),
    families.Dirichlet: CanonicalForm(
        Family.DIRICHLET, lambda fn, v: v.log(), lambda fn: fn.concentration - 1, _dirichlet
    ),
    families.Geometric: CanonicalForm(
        Family.GEOMETRIC,
        lambda fn, v: v[..., None],
        lambda fn: -functional.softplus(fn.logits)[..., None],
        lambda fn: -functional.logsigmoid(fn.logits),
    ),
    families.VonMises: CanonicalForm(
        Family.VON_MISES,
        lambda fn, v: torch.stack([v.cos(), v.sin()], -1),
        _direction,
        lambda fn: torch.special.i0e(fn.concentration).log() + fn.concentration + log(2 * pi),
    ),
    MappedNormal: CanonicalForm(
        Family.MAPPED_NORMAL,
        lambda fn, v: _per_event(fn, _gaussian(fn.numbers(v))),
        lambda fn: _per_event(fn, _gaussian_natural(fn)),
        lambda fn: _per_event(fn, _gaussian_normaliser(fn)[..., None]).sum(-1),
        lambda fn, v: fn.log_base(v),
    ),
    JointBits: CanonicalForm(Family.JOINT_BITS, lambda fn, v: _states(fn, fn.numbers(v)), _against_first, _first),
    TreeBits: CanonicalForm(
        Family.TREE_OF_BITS,
        lambda fn, v: fn.statistics(v),
        lambda fn: fn.natural(),
        lambda fn: functional.softplus(fn.logits).sum(-1),
    ),
    PackedMultinomial: CanonicalForm(
        Family.MULTINOMIAL,
        lambda fn, v: v,
        _words,
        lambda fn: fn.lengths.new_zeros(fn.batch_shape),
        lambda fn, v: v.log_coefficient,
    ),
}

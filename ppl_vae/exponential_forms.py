"""The formulas of each exponential family, one entry a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi
from typing import Any

import torch
from torch import Tensor
from torch import distributions as families
from torch.nn import functional

from ppl_vae.bits import JointBits, TreeBits
from ppl_vae.distributions import PackedMultinomial

__all__ = ["FORMS", "Form"]


def _nothing(fn: Any, value: Tensor) -> Tensor:
    kind = value.dtype if value.is_floating_point() else torch.get_default_dtype()
    return value.new_zeros(value.shape[: value.ndim - len(fn.event_shape)], dtype=kind)


@dataclass(frozen=True)
class Form:
    """A family of one value, ``k`` statistics: the parts take the distribution inside all wrappers.

    Arguments:
        statistics: From distribution and value ``(..., *event)`` to ``(..., k)``.
        natural: ``(*batch, k)``.
        normaliser: A, ``(*batch,)``.
        log_base: From distribution and value to ``(...)``.
        name: In words; None is the class's own.
    """

    statistics: Callable[[Any, Any], Any]
    natural: Callable[[Any], Tensor]
    normaliser: Callable[[Any], Tensor]
    log_base: Callable[[Any, Any], Tensor] = _nothing
    name: str | None = None


def _states(inner: Any, value: Tensor) -> Tensor:
    """Indicators of all states but the first, from the number of a state."""
    return functional.one_hot(value.long(), inner.logits.shape[-1])[..., 1:].to(inner.logits.dtype)


def _against_first(inner: Any) -> Tensor:
    return inner.logits[..., 1:] - inner.logits[..., :1]  # type: ignore[no-any-return]


def _first(inner: Any) -> Tensor:
    """A of logits that are normalised: minus the log-probability of the first state."""
    return -inner.logits[..., 0]  # type: ignore[no-any-return]


def _gaussian(value: Tensor) -> Tensor:
    return torch.stack([value, value.square()], -1)


def _gaussian_natural(inner: Any) -> Tensor:
    precision = inner.scale**-2
    return torch.stack([inner.loc * precision, -precision / 2], -1)


def _gaussian_normaliser(inner: Any) -> Tensor:
    return (inner.loc / inner.scale).square() / 2 + inner.scale.log() + log(2 * pi) / 2  # type: ignore[no-any-return]


def _below(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = torch.tril_indices(size, size, device=like.device)
    return rows, columns


def _products(inner: Any, value: Tensor) -> Tensor:
    rows, columns = _below(value.shape[-1], value)
    return torch.cat([value, value[..., rows] * value[..., columns]], -1)


def _products_natural(inner: Any) -> Tensor:
    precision = torch.cholesky_inverse(inner._unbroadcasted_scale_tril).expand(*inner.batch_shape, -1, -1)
    linear = (precision @ inner.loc[..., None])[..., 0]
    rows, columns = _below(linear.shape[-1], linear)
    # A product off the diagonal stands twice in z'Pz.
    weight = torch.where(rows == columns, -0.5, -1.0).to(linear)
    return torch.cat([linear, precision[..., rows, columns] * weight], -1)


def _products_normaliser(inner: Any) -> Tensor:
    scale = inner._unbroadcasted_scale_tril.expand(*inner.batch_shape, -1, -1)
    whitened = torch.linalg.solve_triangular(scale, inner.loc[..., None], upper=False)[..., 0]
    logdet = scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return whitened.square().sum(-1) / 2 + logdet + inner.loc.shape[-1] * log(2 * pi) / 2  # type: ignore[no-any-return]


def _words(inner: PackedMultinomial) -> Tensor:
    """Log-probabilities of the words; given the length they are natural parameters, and A is zero."""
    logits = inner.logits
    if logits is None:
        assert inner.hidden is not None and inner.weight is not None
        logits = functional.linear(inner.hidden, inner.weight, inner.bias)
    return logits.log_softmax(-1)


def _beta(inner: Any) -> Tensor:
    a, b = inner.concentration1, inner.concentration0
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


FORMS: dict[type, Form] = {
    families.Bernoulli: Form(
        lambda fn, v: v[..., None],
        lambda fn: fn.logits[..., None],
        lambda fn: functional.softplus(fn.logits),
        name="Bernoulli",
    ),
    families.Categorical: Form(_states, _against_first, _first, name="categorical"),
    families.OneHotCategorical: Form(lambda fn, v: v[..., 1:], _against_first, _first, name="one-hot categorical"),
    families.Normal: Form(lambda fn, v: _gaussian(v), _gaussian_natural, _gaussian_normaliser, name="normal"),
    families.LogNormal: Form(
        lambda fn, v: _gaussian(v.log()), _gaussian_natural, _gaussian_normaliser, lambda fn, v: -v.log()
    ),
    families.MultivariateNormal: Form(_products, _products_natural, _products_normaliser, name="multivariate normal"),
    families.Poisson: Form(
        lambda fn, v: v[..., None],
        lambda fn: fn.rate.log()[..., None],
        lambda fn: fn.rate,
        lambda fn, v: -torch.lgamma(v + 1),
    ),
    families.Gamma: Form(
        lambda fn, v: torch.stack([v.log(), v], -1),
        lambda fn: torch.stack([fn.concentration - 1, -fn.rate], -1),
        lambda fn: torch.lgamma(fn.concentration) - fn.concentration * fn.rate.log(),
    ),
    families.Exponential: Form(lambda fn, v: v[..., None], lambda fn: -fn.rate[..., None], lambda fn: -fn.rate.log()),
    families.Beta: Form(
        lambda fn, v: torch.stack([v.log(), torch.log1p(-v)], -1),
        lambda fn: torch.stack([fn.concentration1 - 1, fn.concentration0 - 1], -1),
        _beta,
    ),
    JointBits: Form(lambda fn, v: _states(fn, fn.numbers(v)), _against_first, _first),
    TreeBits: Form(
        lambda fn, v: fn.statistics(v),
        lambda fn: fn.natural(),
        lambda fn: functional.softplus(fn.logits).sum(-1),
        name="tree of bits",
    ),
    PackedMultinomial: Form(
        lambda fn, v: v, _words, lambda fn: fn.lengths.new_zeros(fn.batch_shape), lambda fn, v: v.log_coefficient
    ),
}

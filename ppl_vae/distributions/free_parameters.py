"""The parameters of a distribution as real numbers without bounds, and the distribution made of them."""

from __future__ import annotations

from math import prod
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, Transform, biject_to, constraints, transform_to

from ppl_vae.distributions.exponential_family import base
from ppl_vae.distributions.mapped import MappedNormal

__all__ = ["free_parameters", "has_free_parameters", "with_parameters"]

_LOGITS = ("logits",)
_PLACE = ("loc", "scale")

_ARGUMENTS: dict[type, tuple[str, ...]] = {
    dist.Bernoulli: _LOGITS,
    dist.Categorical: _LOGITS,
    dist.OneHotCategorical: _LOGITS,
    dist.Geometric: _LOGITS,
    dist.Binomial: _LOGITS,
    dist.NegativeBinomial: ("total_count", "logits"),
    dist.Poisson: ("rate",),
    dist.Normal: _PLACE,
    dist.LogNormal: _PLACE,
    dist.Laplace: _PLACE,
    dist.Cauchy: _PLACE,
    dist.Gumbel: _PLACE,
    dist.StudentT: ("df", *_PLACE),
    dist.MultivariateNormal: ("loc", "scale_tril"),
    dist.LowRankMultivariateNormal: ("loc", "cov_factor", "cov_diag"),
    dist.HalfNormal: ("scale",),
    dist.HalfCauchy: ("scale",),
    dist.Exponential: ("rate",),
    dist.Gamma: ("concentration", "rate"),
    dist.InverseGamma: ("concentration", "rate"),
    dist.Weibull: ("scale", "concentration"),
    dist.Beta: ("concentration1", "concentration0"),
    dist.Kumaraswamy: ("concentration1", "concentration0"),
    dist.Dirichlet: ("concentration",),
    dist.VonMises: ("loc", "concentration"),
    MappedNormal: _PLACE,
}
"""The arguments of each family that make its parameters."""

_KEPT: dict[type, tuple[str, ...]] = {dist.Binomial: ("total_count",), MappedNormal: ("onto",)}
"""Arguments that stay as they are."""


def has_free_parameters(fn: Distribution) -> bool:
    """Whether :func:`free_parameters` knows the family."""
    return type(base(fn)) in _ARGUMENTS and _events(fn) >= 0


def free_parameters(fn: Distribution) -> Tensor:
    """The parameters of a distribution as real numbers: logits, means, logarithms of scales and rates, and so on.

    Returns:
        ``(*batch_shape, numbers)``, those of independent dimensions side by side.

    Example:
        >>> free_parameters(dist.Gamma(torch.ones(2, 3), 1.0).to_event(1)).shape
        torch.Size([2, 6])
    """
    return torch.cat([part.reshape(*fn.batch_shape, -1) for part in _parts(fn).values()], -1)


def with_parameters(fn: Distribution, numbers: Tensor) -> Distribution:
    """The distribution of the same family and event shape with these parameters, ``(*batch, numbers)``."""
    inner, lead = base(fn), len(fn.batch_shape)
    shapes = {name: part.shape[lead:] for name, part in _parts(fn).items()}
    pieces = numbers.split([prod(shape) for shape in shapes.values()], -1)
    arguments: dict[str, Any] = {name: getattr(inner, name) for name in _KEPT.get(type(inner), ())}
    for (name, shape), piece in zip(shapes.items(), pieces, strict=True):
        arguments[name] = _from_numbers(_constraint(inner, name))(piece.reshape(*numbers.shape[:-1], *shape))
    made: Distribution = type(inner)(**arguments).to_event(_events(fn))
    return made


def _constraint(inner: TorchDistribution, name: str) -> constraints.Constraint:
    source = dist.Normal if isinstance(inner, MappedNormal) else inner
    result: constraints.Constraint = source.arg_constraints[name]
    return result


def _from_numbers(constraint: constraints.Constraint) -> Transform:
    """The map from real numbers; of Cholesky factors torch knows it under another name."""
    known = transform_to if constraint is constraints.lower_cholesky else biject_to
    result: Transform = known(constraint)
    return result


def _events(fn: Distribution) -> int:
    """Number of dimensions of an event over which the values are independent; negative for reshaped values."""
    inner = base(fn)
    same = inner.event_shape == fn.event_shape[len(fn.event_shape) - len(inner.event_shape) :]
    return len(fn.event_shape) - len(inner.event_shape) if same else -1


def _parts(fn: Distribution) -> dict[str, Tensor]:
    """The parameters by argument, ``(*batch_shape, *independent dimensions, ...)``."""
    inner, parts = base(fn), {}
    lead = torch.Size((*fn.batch_shape, *fn.event_shape[: _events(fn)]))
    for name in _ARGUMENTS[type(inner)]:
        value = getattr(inner, name)
        constraint = _constraint(inner, name)
        dims = constraint.event_dim + getattr(inner, "inner_dims", 0)
        parts[name] = _from_numbers(constraint).inv(value.expand(*lead, *value.shape[value.ndim - dims :]))
    return parts

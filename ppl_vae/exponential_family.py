"""What the estimators and the evidence need to know of Pyro's exponential families."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    ReshapeTransform,
    TransformedDistribution,
)
from torch.nn import functional

__all__ = ["bit_logits", "family", "log_prob"]

_FAMILIES: tuple[tuple[type, str], ...] = (
    (Bernoulli, "Bernoulli"),
    (Categorical, "categorical"),
    (OneHotCategorical, "one-hot categorical"),
    (Normal, "normal"),
    (MultivariateNormal, "multivariate normal"),
)


def base(fn: Any) -> Any:
    """The distribution inside Independent, expanded and, around a multivariate normal, reshaping wrappers.

    Masked distributions are another family.
    """
    while isinstance(fn, (Independent, ExpandedDistribution)):
        fn = fn.base_dist
    if isinstance(fn, TransformedDistribution) and all(isinstance(t, ReshapeTransform) for t in fn.transforms):
        inner = base(fn.base_dist)
        return inner if isinstance(inner, MultivariateNormal) else fn
    return fn


def family(fn: Any) -> str:
    """The family's name in words: "Bernoulli", "normal", ..., or the class's own name."""
    inner = base(fn)
    for kind, name in _FAMILIES:
        if isinstance(inner, kind):
            return name
    return type(inner).__name__


def bit_logits(fn: Any) -> Tensor | None:
    """Natural parameters of independent bits, ``(*batch_shape, bits)``; None for any other family."""
    inner = base(fn)
    if not isinstance(inner, Bernoulli):
        return None
    shape = fn.batch_shape + fn.event_shape
    return inner.logits.expand(shape).reshape(*fn.batch_shape, fn.event_shape.numel())


def log_prob(fn: Distribution, value: Any) -> Tensor:
    r"""Log-density at ``value``, by one matrix product where every code meets every datum.

    Independent bits have :math:`\log q(z) = z^\top \eta - \sum_j \log(1 + e^{\eta_j})`; where the codes,
    ``(draws, 1, bits)``, are shared by the batch and the parameters, ``(batch, bits)``, by the draws, the sum
    is a product of two small matrices. Everything else is the distribution's own ``log_prob``.

    Returns:
        ``fn.batch_shape``, in nats.
    """
    if isinstance(value, Tensor) and len(fn.batch_shape) == 2 and value.ndim == 2 + len(fn.event_shape):
        draws, batch = fn.batch_shape
        logits = bit_logits(fn) if value.shape[:2] == (draws, 1) and batch > 1 else None
        if logits is not None and (draws == 1 or logits.stride(0) == 0):
            parameters = logits[0]
            codes = value.reshape(draws, -1).to(parameters.dtype)
            return codes @ parameters.T - functional.softplus(parameters).sum(-1)
    result: Tensor = fn.log_prob(value)
    return result.expand(torch.broadcast_shapes(result.shape, fn.batch_shape))

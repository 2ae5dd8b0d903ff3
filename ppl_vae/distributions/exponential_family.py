r"""Pyro's exponential families, all that this package knows of them.

.. math:: \log p(v) = \log h(v) + \langle T(v), \eta \rangle - A(\eta)

with minimal sufficient statistics T (no affine function of them is constant), natural parameters :math:`\eta`, and base
measure h (Schlesinger, Shekhovtsov and Flach 2021, eq. 6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi
from typing import Any

import torch
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor
from torch import distributions as families
from torch.nn import functional

from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions.bits import JointBits, TreeBits
from ppl_vae.distributions.multinomial import PackedMultinomial

__all__ = [
    "FORMS",
    "Form",
    "bit_logits",
    "family",
    "is_known",
    "log_base",
    "log_normaliser",
    "log_prob",
    "natural",
    "statistics",
]


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


def base(fn: Any) -> Any:
    """The distribution inside Independent, expanded and, around a multivariate normal, reshaping wrappers.

    Masked distributions are another family.
    """
    fn = _unwrapped(fn)
    return base(fn.base_dist) if _is_reshaped(fn) else fn


def _unwrapped(fn: Any) -> Any:
    while isinstance(fn, (families.Independent, ExpandedDistribution)):
        fn = fn.base_dist
    return fn


def _is_reshaped(fn: Any) -> bool:
    """Whether it is a multivariate normal whose values have another shape."""
    fn = _unwrapped(fn)
    return (
        isinstance(fn, families.TransformedDistribution)
        and all(isinstance(t, families.ReshapeTransform) for t in fn.transforms)
        and isinstance(base(fn.base_dist), families.MultivariateNormal)
    )


def _form(fn: Any) -> Form | None:
    return next((form for kind, form in FORMS.items() if isinstance(base(fn), kind)), None)


def _known(fn: Any) -> Form:
    form = _form(fn)
    if form is None:
        names = ", ".join(known.name or kind.__name__ for kind, known in FORMS.items())
        raise ValueError(f"{family(fn)} is no exponential family whose statistics are known here; known are {names}")
    return form


def family(fn: Any) -> str:
    """The family's name in words: "Bernoulli", "normal", ..., or the class's own name."""
    form = _form(fn)
    return (form and form.name) or type(base(fn)).__name__


def is_known(fn: Any) -> bool:
    """Whether the functions below know the family."""
    return _form(fn) is not None


def _repeated(fn: Any) -> torch.Size:
    """Dimensions of an event over which the values inside all wrappers are independent."""
    events = 0 if _is_reshaped(fn) else len(fn.event_shape) - len(base(fn).event_shape)
    return torch.Size(fn.event_shape[:events])


def statistics(fn: Any, value: Any) -> Any:
    r"""Minimal sufficient statistics :math:`T(v)` of values of a distribution's family.

    Arguments:
        fn: Only its family and event shape matter; independent dimensions lie side by side.
        value: ``(..., *event)``, or documents.

    Returns:
        ``(..., statistics)``; documents are their own statistics, and stay packed.

    Raises:
        ValueError: If the family is not known, naming those that are.

    Example:
        >>> statistics(families.Normal(torch.zeros(2), 1.0), torch.tensor([2.0, 3.0])).tolist()
        [[2.0, 4.0], [3.0, 9.0]]
        >>> statistics(families.Categorical(torch.ones(3)), torch.tensor(2)).tolist()
        [0.0, 1.0]
    """
    known = _known(fn)
    if _is_reshaped(fn):
        return known.statistics(base(fn), value.flatten(-len(fn.event_shape)))
    found = known.statistics(base(fn), value)
    if isinstance(found, PackedCounts):
        return found
    return found.reshape(*value.shape[: value.ndim - len(fn.event_shape)], -1)


def log_base(fn: Any, value: Any) -> Tensor:
    r"""Log base measure :math:`\log h(v)` of values ``(..., *event)``, in nats; see :func:`statistics`."""
    if _is_reshaped(fn):
        return torch.zeros_like(value).flatten(-len(fn.event_shape))[..., 0]
    found = _known(fn).log_base(base(fn), value)
    return found.sum(tuple(range(-len(_repeated(fn)), 0))) if _repeated(fn) else found


def natural(fn: Any) -> Tensor:
    r"""Natural parameters :math:`\eta`, ``(*batch_shape, statistics)``; see :func:`statistics`.

    Those of documents are the log-probabilities of their words: give distributions of few documents.

    Example:
        >>> natural(families.Normal(3.0, 0.5)).tolist()
        [12.0, -2.0]
    """
    found = _known(fn).natural(base(fn))
    return found.expand(*fn.batch_shape, *_repeated(fn), -1).reshape(*fn.batch_shape, -1)


def log_normaliser(fn: Any) -> Tensor:
    r"""Log-partition function :math:`A(\eta)`, ``batch_shape``, in nats; see :func:`statistics`."""
    found = _known(fn).normaliser(base(fn)).expand(*fn.batch_shape, *_repeated(fn))
    return found.sum(tuple(range(-len(_repeated(fn)), 0))) if _repeated(fn) else found


def bit_logits(fn: Any) -> Tensor | None:
    """Natural parameters of independent bits, ``(*batch_shape, bits)``; None for any other family."""
    return natural(fn) if isinstance(base(fn), families.Bernoulli) else None


def log_prob(fn: families.Distribution, value: Any) -> Tensor:
    r"""Log-density at ``value``, by one matrix product where every code meets every datum.

    Independent bits have :math:`\log q(z) = z^\top \eta - \sum_j \log(1 + e^{\eta_j})`; where the bits,
    ``(draws, 1, bits)``, are shared by the batch and the parameters, ``(batch, bits)``, by the draws, or the other way
    round, the sum is a product of two small matrices. Everything else is the distribution's own ``log_prob``.

    Returns:
        ``fn.batch_shape``, in nats.
    """
    if isinstance(value, Tensor) and len(fn.batch_shape) == 2 and min(fn.batch_shape) > 0:
        draws, batch = fn.batch_shape
        lead = value.shape[: value.ndim - len(fn.event_shape)]
        logits = bit_logits(fn) if lead in ((draws, 1), (batch,)) and batch > 1 else None
        if logits is not None and lead == (draws, 1) and (draws == 1 or logits.stride(0) == 0):
            parameters = logits[0]
            codes = value.reshape(draws, -1).to(parameters.dtype)
            return codes @ parameters.T - functional.softplus(parameters).sum(-1)
        if logits is not None and lead == (batch,) and draws > 1 and logits.stride(1) == 0:
            parameters = logits[:, 0]
            data = value.reshape(batch, -1).to(parameters.dtype)
            return parameters @ data.T - functional.softplus(parameters).sum(-1, keepdim=True)
    result: Tensor = fn.log_prob(value)
    return result.expand(torch.broadcast_shapes(result.shape, fn.batch_shape))

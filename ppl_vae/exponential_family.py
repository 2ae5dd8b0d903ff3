r"""Pyro's exponential families, all that this package knows of them.

.. math:: \log p(v) = \log h(v) + \langle T(v), \eta \rangle - A(\eta)

with minimal sufficient statistics T (no affine function of them is constant), natural parameters :math:`\eta`, and base
measure h (Schlesinger, Shekhovtsov and Flach 2021, eq. 6).
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor
from torch import distributions as families
from torch.nn import functional

from ppl_vae.batches import PackedCounts
from ppl_vae.exponential_forms import FORMS, Form

__all__ = ["bit_logits", "family", "is_known", "log_base", "log_normaliser", "log_prob", "natural", "statistics"]


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

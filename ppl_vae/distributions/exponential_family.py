r"""Pyro's exponential families: sufficient statistics, natural parameters and normalisers.

.. math:: \log p(v) = \log h(v) + \langle T(v), \eta \rangle - A(\eta)

with minimal sufficient statistics T (no affine function of them is constant), natural parameters :math:`\eta`, and base
measure h (Schlesinger, Shekhovtsov and Flach 2021, eq. 6).
"""

from __future__ import annotations

from typing import overload

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor
from torch import distributions as families
from torch.distributions import Distribution
from torch.nn import functional

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Field
from ppl_vae.distributions.canonical_forms import FORMS, CanonicalForm, Family
from ppl_vae.distributions.normals import log_prob_of_normals
from ppl_vae.distributions.shapes import broadcast_shapes

__all__ = [
    "Family",
    "base",
    "bit_logits",
    "bit_logits_of_a_draw",
    "family",
    "is_known",
    "log_base",
    "log_normaliser",
    "log_prob",
    "natural",
    "statistics",
]


def base(fn: Distribution) -> TorchDistribution:
    """The distribution inside Independent, expanded and, around a multivariate normal, reshaping wrappers.

    Its attributes depend on its family, hence its type. Masked distributions are another family.
    """
    inner = _unwrapped(fn)
    if isinstance(inner, families.TransformedDistribution) and _is_reshaped(inner):
        return base(inner.base_dist)
    return inner


def _unwrapped(fn: Distribution) -> TorchDistribution:
    while isinstance(fn, (families.Independent, ExpandedDistribution)):
        fn = fn.base_dist
    return fn


def _is_reshaped(fn: Distribution) -> bool:
    """Whether this is a multivariate normal whose values have another shape."""
    fn = _unwrapped(fn)
    return (
        isinstance(fn, families.TransformedDistribution)
        and all(isinstance(t, families.ReshapeTransform) for t in fn.transforms)
        and isinstance(base(fn.base_dist), families.MultivariateNormal)
    )


def _form(fn: Distribution) -> CanonicalForm | None:
    return next((form for kind, form in FORMS.items() if isinstance(base(fn), kind)), None)


def _known_form(fn: Distribution) -> CanonicalForm:
    form = _form(fn)
    if form is None:
        names = ", ".join(form.family for form in FORMS.values())
        raise ValueError(f"{family(fn)} is no exponential family whose statistics are known here; known are {names}")
    return form


def family(fn: Distribution) -> Family | str:
    """The family, or the name of the distribution's class where it is none of :class:`Family`."""
    form = _form(fn)
    return type(base(fn)).__name__ if form is None else form.family


def is_known(fn: Distribution) -> bool:
    """Whether the distribution's family is one of :class:`Family`."""
    return _form(fn) is not None


def _repeated(fn: Distribution) -> torch.Size:
    """Dimensions of an event over which the values inside all wrappers are independent."""
    events = 0 if _is_reshaped(fn) else len(fn.event_shape) - len(base(fn).event_shape)
    return torch.Size(fn.event_shape[:events])


@overload
def statistics(fn: Distribution, value: PackedCounts) -> PackedCounts: ...


@overload
def statistics(fn: Distribution, value: Tensor) -> Tensor: ...


def statistics(fn: Distribution, value: Field) -> Field:
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
    form, inner = _known_form(fn), base(fn)
    if isinstance(value, PackedCounts):
        return value
    if _is_reshaped(fn):
        return form.statistics(inner, value.flatten(-len(fn.event_shape)))
    result = form.statistics(inner, value)
    return result.reshape(*value.shape[: value.ndim - len(fn.event_shape)], -1)


def log_base(fn: Distribution, value: Field) -> Tensor:
    r"""Log base measure :math:`\log h(v)` of values ``(..., *event)``, in nats; see :func:`statistics`."""
    if _is_reshaped(fn) and isinstance(value, Tensor):
        return torch.zeros_like(value).flatten(-len(fn.event_shape))[..., 0]
    return _summed(fn, _known_form(fn).log_base(base(fn), value))


def natural(fn: Distribution) -> Tensor:
    r"""Natural parameters :math:`\eta`, ``(*batch_shape, statistics)``; see :func:`statistics`.

    Those of documents are the log-probabilities of their words: give distributions of few documents.

    Example:
        >>> natural(families.Normal(3.0, 0.5)).tolist()
        [12.0, -2.0]
    """
    parameters = _known_form(fn).natural(base(fn))
    return parameters.expand(*fn.batch_shape, *_repeated(fn), -1).reshape(*fn.batch_shape, -1)


def log_normaliser(fn: Distribution) -> Tensor:
    r"""Log-partition function :math:`A(\eta)`, ``batch_shape``, in nats; see :func:`statistics`."""
    return _summed(fn, _known_form(fn).normaliser(base(fn)).expand(*fn.batch_shape, *_repeated(fn)))


def _summed(fn: Distribution, values: Tensor) -> Tensor:
    """Sums over the independent dimensions of an event."""
    dims = tuple(range(-len(_repeated(fn)), 0))
    return values.sum(dims) if dims else values


def bit_logits(fn: Distribution) -> Tensor | None:
    """Natural parameters of independent bits, ``(*batch_shape, bits)``; None for any other family."""
    inner = base(fn)
    if not isinstance(inner, families.Bernoulli):
        return None
    logits, shape = inner.logits, fn.batch_shape + fn.event_shape
    logits = logits if logits.shape == shape else logits.expand(shape)
    return logits if len(fn.event_shape) == 1 else logits.reshape(*fn.batch_shape, -1)


def bit_logits_of_a_draw(fn: Distribution, logits: Tensor) -> Tensor:
    """The :func:`bit_logits` of a distribution whose first dimension repeats them, once, ``(*batch_shape[1:], bits)``.

    The gradient of a row of a tensor is a tensor of all rows. Where the distribution before the repetition is known as
    its attribute ``of_a_draw``, its logits are taken.
    """
    single: Distribution | None = getattr(fn, "of_a_draw", None)
    known = None if single is None or single.batch_shape != fn.batch_shape[1:] else bit_logits(single)
    return logits[0] if known is None else known


def log_prob(fn: Distribution, value: Field) -> Tensor:
    r"""Log-density at ``value``, by one matrix product where every code meets every datum.

    Independent bits have :math:`\log q(z) = z^\top \eta - \sum_j \log(1 + e^{\eta_j})`; where the bits,
    ``(draws, 1, bits)``, are shared by the batch and the parameters, ``(batch, bits)``, by the draws, or the other way
    round, the sum is a product of two small matrices. Everything else is the distribution's own ``log_prob``.

    Returns:
        ``fn.batch_shape``, in nats.

    Raises:
        ValueError: If the distribution has a density only at its own draws, a transform of it having no inverse.
    """
    if isinstance(value, Tensor) and len(fn.batch_shape) == 2 and min(fn.batch_shape) > 0:
        draws, batch = fn.batch_shape
        lead = value.shape[: value.ndim - len(fn.event_shape)]
        logits = bit_logits(fn) if lead in ((draws, 1), (batch,)) and batch > 1 else None
        if logits is not None and lead == (draws, 1) and (draws == 1 or logits.stride(0) == 0):
            parameters = bit_logits_of_a_draw(fn, logits)
            codes = value.reshape(draws, -1).to(parameters.dtype)
            return codes @ parameters.T - functional.softplus(parameters).sum(-1)
        if logits is not None and lead == (batch,) and draws > 1 and logits.stride(1) == 0:
            parameters = logits[:, 0]
            data = value.reshape(batch, -1).to(parameters.dtype)
            return parameters @ data.T - functional.softplus(parameters).sum(-1, keepdim=True)
    if isinstance(value, Tensor) and (normals := log_prob_of_normals(fn, value)) is not None:
        return normals.expand(broadcast_shapes(normals.shape, fn.batch_shape))
    try:
        result: Tensor = fn.log_prob(value)  # type: ignore[arg-type]  # documents, for a distribution of documents
    except KeyError as error:  # of Pyro's planar, radial and other transforms
        raise ValueError(
            "the distribution has a density only at its own draws, since one of its transforms has no inverse; take a "
            "transform with an inverse, such as affine_autoregressive, spline or affine_coupling"
        ) from error
    if result.shape == fn.batch_shape:
        return result
    return result.expand(broadcast_shapes(result.shape, fn.batch_shape))

"""Distributions of states and mixtures with flattened weights, so that draws do not miss their rare parts."""

from __future__ import annotations

from copy import copy

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, distributions

from ppl_vae.distributions.bits import JointBits
from ppl_vae.distributions.mixtures import MixtureOfBits, MixtureOfNormals
from ppl_vae.distributions.wrappers import chain

__all__ = ["flattened", "normal_numbers", "rare_parts"]

RARE = 0.3
"""Probability of a part, in shares of the mean probability of all, below which it is rare."""

_LOGITS = {
    JointBits: "logits",
    MixtureOfBits: "log_weights",
    MixtureOfNormals: "log_weights",
    dist.MixtureOfDiagNormals: "component_logits",
    dist.MixtureOfDiagNormalsSharedCovariance: "component_logits",
}
"""Attribute with the unnormalised log-weights of states or components, by class."""

_NORMALS = (distributions.Normal, distributions.MultivariateNormal)

_STATES = (distributions.Categorical, distributions.OneHotCategorical)


def rare_parts(fn: TorchDistribution) -> float:
    """Most independent elements of an event that have a rare state or component; 0 for other families.

    Example:
        >>> rare_parts(dist.Bernoulli(torch.tensor([0.5, 0.01, 0.001])).to_event(1))
        2.0
    """
    inner = chain(fn)[-1]
    weights = _weights(inner)
    if weights is None:
        return 0.0
    rare, own = _has_rare(weights)[..., 0], len(fn.event_shape) - len(inner.event_shape)
    rare = rare.reshape(*rare.shape[: max(0, rare.ndim - own)], -1)
    repeated = fn.event_shape.numel() // inner.event_shape.numel() // rare.shape[-1]
    return float(rare.sum(-1).max() * repeated)


def normal_numbers(fn: TorchDistribution) -> int:
    """Number of normal numbers in an event; 0 for other families."""
    return int(fn.event_shape.numel()) if isinstance(chain(fn)[-1], _NORMALS) else 0


def flattened(fn: TorchDistribution, share: float, widening: float = 1.0) -> TorchDistribution:
    r"""The distribution with weights :math:`(1 - \epsilon) w + \epsilon\, u` where a state or component is rare.

    u is uniform over those of positive weight. Elements of an event without rare ones keep their weights. Inside
    wrappers that declare, expand, mask, move or transform, all but the weights stays as it is; a distribution that has
    none is returned unchanged.

    Arguments:
        fn: Independent bits, a categorical distribution, or a mixture.
        share: :math:`\epsilon`, from 0 to 1.
        widening: Factor of the standard deviation of normals that take this share; 1 leaves them as they are.

    Example:
        >>> flattened(dist.Bernoulli(torch.tensor(0.01)), 0.5).probs
        tensor(0.2550)
    """
    if (parts := getattr(fn, "fns", None)) is not None:
        flat = [flattened(part, share, widening) for part in parts]
        return fn if flat[0] is parts[0] else _holding(fn, fns=flat, base_dist=flat[0])
    if (base := getattr(fn, "base_dist", None)) is not None:
        inner = flattened(base, share, widening)
        return fn if inner is base else _holding(fn, base_dist=inner)
    if widening != 1 and isinstance(fn, _NORMALS):
        return _widened(fn, share, widening)
    weights = _weights(fn)
    if weights is None:
        return fn
    possible = weights > 0
    even = (1 - share) * weights + share * possible / possible.sum(-1, keepdim=True)
    even = torch.where(_has_rare(weights), even, weights)
    if isinstance(fn, distributions.Bernoulli):
        return dist.Bernoulli(even[..., 1], validate_args=False)
    if isinstance(fn, _STATES):
        return type(fn)(even, validate_args=False)
    parts = distributions.Categorical(even, validate_args=False)
    if isinstance(fn, distributions.MixtureSameFamily):
        return _holding(fn, _mixture_distribution=parts)
    name = next(name for kind, name in _LOGITS.items() if isinstance(fn, kind))
    return _holding(fn, **{name: even.log(), "categorical": parts})


def _widened(fn: TorchDistribution, share: float, widening: float) -> TorchDistribution:
    """A normal distribution mixed with one of the same mean and a larger deviation."""
    place = -1 - len(fn.event_shape)
    loc = torch.stack([fn.loc, fn.loc], place)
    if isinstance(fn, distributions.MultivariateNormal):
        tril = torch.stack([fn.scale_tril, widening * fn.scale_tril], -3)
        parts = dist.MultivariateNormal(loc, scale_tril=tril, validate_args=False)
    else:
        parts = dist.Normal(loc, torch.stack([fn.scale, widening * fn.scale], place), validate_args=False)
    weights = fn.loc.new_tensor([1 - share, share]).expand(parts.batch_shape)
    return dist.MixtureSameFamily(dist.Categorical(weights, validate_args=False), parts, validate_args=False)


def _holding(fn: TorchDistribution, **attributes: object) -> TorchDistribution:
    """A copy with other attributes."""
    other = copy(fn)
    vars(other).update(attributes)
    vars(other).pop("of_a_draw", None)  # which has the attributes of old
    return other


def _has_rare(weights: Tensor) -> Tensor:
    """Whether a part that is possible is rare, ``(..., 1)``."""
    possible = weights > 0
    return (possible & (weights * possible.sum(-1, keepdim=True) < RARE)).any(-1, keepdim=True)


def _weights(fn: TorchDistribution) -> Tensor | None:
    """Probabilities of states or components, ``(..., parts)``; None for a family that has none."""
    if isinstance(fn, distributions.Bernoulli):
        return torch.stack([1 - fn.probs, fn.probs], -1)
    if isinstance(fn, _STATES):
        return fn.probs
    if isinstance(fn, distributions.MixtureSameFamily):
        return fn.mixture_distribution.probs
    name = next((name for kind, name in _LOGITS.items() if isinstance(fn, kind)), None)
    return None if name is None else getattr(fn, name).softmax(-1)

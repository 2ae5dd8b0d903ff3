"""Discrete distributions as independent categoricals: the log-probability of each state, and the values of states."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch import distributions as families
from torch.distributions import Distribution

from ppl_vae.distributions import exponential_family

__all__ = [
    "is_bits",
    "log_probabilities",
    "mean",
    "number_and_states",
    "relaxed_log_prob",
    "support_of",
    "values_of_states",
]


def _single(fn: Distribution) -> TorchDistribution:
    """The distribution of one of the independent parts of an event."""
    while isinstance(fn, families.Independent):
        fn = fn.base_dist
    return fn


def number_and_states(fn: Distribution) -> tuple[int, int] | None:
    """Number of independent parts of an event, and of the states of each; None of a family that does not list them.

    Example:
        >>> import pyro.distributions as dist
        >>> number_and_states(dist.Categorical(torch.ones(4, 7, 3)).to_event(1))
        (7, 3)
        >>> number_and_states(dist.Bernoulli(torch.ones(4, 5)).to_event(1))
        (5, 2)
    """
    bits = exponential_family.bit_logits(fn)
    if bits is not None:
        return bits.shape[-1], 2
    single = _single(fn)
    support = support_of(single)
    return None if support is None else (prod(single.batch_shape[len(fn.batch_shape) :]), len(support))


def support_of(fn: TorchDistribution) -> Tensor | None:
    """The values of a discrete distribution; None if it does not list them, or not the same for all of its elements."""
    try:
        return fn.enumerate_support(expand=False) if fn.has_enumerate_support else None
    except NotImplementedError:
        return None


def log_probabilities(fn: Distribution) -> Tensor:
    """Log-probability of each state, ``(*batch_shape, number, states)``, in nats; of bits less that of 0."""
    bits = exponential_family.bit_logits(fn)
    if bits is not None:
        return torch.stack([torch.zeros_like(bits), bits], -1)
    single = _single(fn)
    if isinstance(single, families.Categorical | families.OneHotCategorical):
        table = single.logits
    else:
        table = single.log_prob(single.enumerate_support(expand=False)).movedim(0, -1)
    return table.reshape(*fn.batch_shape, -1, table.shape[-1])


def values_of_states(fn: Distribution, states: Tensor) -> Tensor:
    """Values of states by number, ``(*batch, number)`` to ``(*batch, *event_shape)``."""
    bits = exponential_family.bit_logits(fn)
    if bits is not None:
        return states.to(bits.dtype).reshape(*states.shape[:-1], *fn.event_shape)
    single = _single(fn)
    support = single.enumerate_support(expand=False)
    values: Tensor = support.reshape(len(support), *single.event_shape)[states]
    return values.reshape(*states.shape[:-1], *fn.event_shape)


def is_bits(fn: Distribution) -> bool:
    """Whether these are independent bits."""
    return isinstance(exponential_family.base(fn), families.Bernoulli)


def mean(fn: TorchDistribution) -> Tensor:
    """Mean of bits or one-hot values in the first row, ``(1, *shape)``."""
    bits = exponential_family.bit_logits(fn)
    first = log_probabilities(fn)[0].softmax(-1) if bits is None else bits[0].sigmoid()
    return first.reshape(1, *fn.shape()[1:])


def relaxed_log_prob(site: Mapping[str, Any]) -> Tensor | None:
    """Log-density of a one-hot site, linear in its value; None of any other site.

    The family itself takes a vector between states for the likeliest one. In nats, scaled and masked as the site is.
    """
    fn, value = site["fn"], site["value"]
    if not isinstance(_single(fn), families.OneHotCategorical):
        return None
    densities = (value * _single(fn).logits).flatten(len(fn.batch_shape)).sum(-1)
    scaled: Tensor = scale_and_mask(densities, site["scale"], site["mask"])
    return scaled

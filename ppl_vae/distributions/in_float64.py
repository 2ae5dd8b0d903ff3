"""Distributions computed in float64, whose log-densities show by how much rounding moves those in float32."""

from __future__ import annotations

from copy import copy
from math import log
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributions as families
from torch.distributions.transforms import Transform
from torch.nn import functional

__all__ = ["CannotConvertError", "in_float64"]

D = TypeVar("D", bound=families.Distribution)


class CannotConvertError(Exception):
    """A distribution that depends on a network, which stays as it is."""


def in_float64(fn: D) -> D:
    """The distribution with the same parameters, of whatever it is made of, as float64 numbers.

    Example:
        >>> in_float64(families.Poisson(torch.tensor(3.0))).log_prob(torch.tensor(2.0).double()).dtype
        torch.float64
    """
    result: D = _converted(fn)
    return result


def _converted(value: Any) -> Any:
    if isinstance(value, nn.Module):
        raise CannotConvertError
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(_converted, value))
    if not isinstance(value, families.Distribution | Transform):
        return value
    result, made = copy(value), vars(value).get("_param")
    for name, part in vars(value).items():
        if made is not None and name in ("probs", "logits") and part is not made:
            del result.__dict__[name]  # computed from the other, and rounded
        else:
            result.__dict__[name] = _converted(part)
    if isinstance(value, families.ContinuousBernoulli):
        result.__class__ = type(type(value).__name__, (_OfLogits, type(value)), {})
    return result


class _OfLogits:
    r"""Continuous Bernoulli distributions, normalised by their logits, which PyTorch keeps from infinity.

    .. math:: \log p(x) = \eta x - \mathrm{softplus}(\eta) + \log \frac{\eta}{\tanh(\eta / 2)}

    (Loaiza-Ganem and Cunningham 2019, eq. 3.)
    """

    logits: Tensor

    def log_prob(self, value: Tensor) -> Tensor:
        logits = self.logits
        is_small = logits.abs() < 1e-3
        apart = torch.where(is_small, 1.0, logits)
        normaliser = torch.where(is_small, log(2) + logits.square() / 12, (apart / (apart / 2).tanh()).log())
        return value * logits - functional.softplus(logits) + normaliser

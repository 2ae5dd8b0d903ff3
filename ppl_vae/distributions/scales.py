"""Standard deviations from numbers without bounds: what an encoder gives a guide of normals."""

from __future__ import annotations

from math import inf, log

import torch
from torch import Tensor
from torch.distributions import Distribution

__all__ = ["COUPLED", "bounded", "bounded_log_scale", "location_and_log_scale", "typical_scale"]

LEAST, MOST = -12.0, 4.0
"""Range of the logarithm of a standard deviation, relative to the prior's, in which it is the parameter itself."""

COUPLED = 100.0
"""Largest coupling of two numbers, in units of the deviation that is not shared."""

MARGIN = 3.0
"""How far beyond that range it can go."""


def bounded_log_scale(parameter: Tensor, unit: float | None) -> Tensor:
    r"""The logarithm of a standard deviation, bounded on both sides.

    .. math:: \log \sigma = s + 3 \tanh \frac{a - s}{3}, \qquad s = \mathrm{clamp}(a, \log u - 12, \log u + 4)

    with the parameter a and the prior's standard deviation u. Where a lies in that range it is the logarithm itself;
    beyond, :math:`\sigma` rises or falls smoothly towards :math:`e^{7} u` and :math:`e^{-15} u`. No datum, however
    unlike those the guide was trained on, has a posterior so wide that its density overflows.

    Arguments:
        parameter: The parameter a.
        unit: The standard deviation u; None is no bound.

    Example:
        >>> import torch
        >>> bounded_log_scale(torch.tensor([-100.0, -1.5, 0.0, 4.0, 5.0, 100.0]), unit=1.0)
        tensor([-15.0000,  -1.5000,   0.0000,   4.0000,   4.9645,   7.0000])
    """
    if unit is None:
        return parameter
    middle = log(unit)
    return bounded(parameter, middle + LEAST, middle + MOST)


def bounded(parameter: Tensor, least: float, most: float) -> Tensor:
    """The parameter itself in a range; beyond, smoothly towards 3 more or less."""
    inside = parameter.clamp(least, most)
    return inside + MARGIN * ((parameter - inside) / MARGIN).tanh()


def location_and_log_scale(fn: Distribution) -> tuple[Tensor, Tensor]:
    """The mean of a distribution's values, and the logarithm of its root mean variance, on average over batches.

    Of shape ``event_shape`` each; zeros where they are unknown or infinite.
    """
    zeros = torch.zeros(fn.event_shape)
    try:
        moments = fn.mean, fn.variance
    except (NotImplementedError, AttributeError):
        return zeros, zeros
    mean, variance = (moment.detach().reshape(-1, *fn.event_shape).mean(0) for moment in moments)
    known = mean.isfinite() & variance.isfinite() & (variance > 0)
    return torch.where(known, mean, 0.0), torch.where(known, variance, 1.0).log() / 2


def typical_scale(fn: Distribution) -> float:
    """The root mean variance of a distribution's values; 1 where it is unknown or infinite."""
    try:
        value = fn.variance.mean().sqrt().item()
    except (NotImplementedError, AttributeError):
        return 1.0
    return value if 0 < value < inf else 1.0

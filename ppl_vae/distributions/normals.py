"""The log-density of many normal numbers at once."""

from __future__ import annotations

from math import log, pi

from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

__all__ = ["log_prob_of_normals"]


def log_prob_of_normals(fn: Distribution, value: Tensor) -> Tensor | None:
    r"""The log-density of a vector of normals with one standard deviation, ``fn.batch_shape``, in nats.

    .. math:: \log p(x) = -\frac{1}{2 \sigma^2} \sum_{j=1}^n (x_j - \mu_j)^2 - n \log \sigma - \frac n2 \log 2 \pi

    PyTorch takes :math:`\sigma^2` and :math:`\log \sigma` of every number again.

    Arguments:
        fn: The distribution.
        value: The vector x, ``(*batch, *event)``.

    Returns:
        None for any other distribution, and where values are to be checked.

    Example:
        >>> import torch
        >>> fn = Independent(Normal(torch.zeros(5, 3), 2.0, validate_args=False), 1, validate_args=False)
        >>> torch.allclose(log_prob_of_normals(fn, torch.ones(5, 3)), fn.log_prob(torch.ones(5, 3)))
        True
    """
    events, inner = len(fn.event_shape), fn
    while isinstance(inner, Independent):
        inner = inner.base_dist
    if not events or not isinstance(inner, Normal) or type(inner).log_prob is not Normal.log_prob:
        return None
    if inner._validate_args or len(inner.batch_shape) != len(fn.batch_shape) + events:
        return None
    loc, scale = inner.loc, _number(inner.scale)
    for dim in range(scale.ndim):
        if scale.stride(dim) == 0:
            scale = scale.narrow(dim, 0, 1)
    if scale.shape[-events:].numel() > 1:
        return None
    scale = scale.flatten(-events)[..., 0]
    off = value - loc
    squares = off.square() if off.requires_grad else off.square_()
    total = squares.sum(tuple(range(-events, 0)))
    return -total / (2 * scale.square()) - fn.event_shape.numel() * (scale.log() + log(2 * pi) / 2)


def _number(scale: Tensor) -> Tensor:
    """A deviation that is one number for all, with as many dimensions; others as they are.

    The gradient of one element of a tensor is a tensor of all elements; that of the number itself is a number.
    """
    number = scale._base
    if number is None or number.numel() != 1 or number.requires_grad != scale.requires_grad:
        return scale
    return number.reshape([1] * scale.ndim)

"""A program of the table of structures, and the numbers that are known about it without this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Array", "Structure", "array", "bernoulli_log_prob", "log_mean", "normal_grid", "normal_log_prob"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Structure:
    """A model and its guide as their author wrote them.

    Arguments:
        title: What the program is.
        form: How it is written.
        model: The model.
        guide: The guide.
        args: The arguments of both.
        truth: log p(x) of each datum by the parameters as they are now, ``(data,)``, in nats, written in NumPy; None
            where no such number is at hand.
        refused: Words of the error by which it is refused; None if it runs.
        train: Arguments of a training step; those of a measurement if None.
        options: Options of the measurement.
    """

    title: str
    form: str
    model: Callable[..., Any]
    guide: Callable[..., Any]
    args: tuple[Any, ...]
    truth: Callable[[], Array] | None = None
    refused: str | None = None
    train: tuple[Any, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def array(tensor: Tensor) -> Array:
    """The numbers of a tensor, in double precision."""
    return tensor.detach().cpu().double().numpy()


def normal_log_prob(x: Array, loc: Array | float, scale: Array | float) -> Array:
    """log N(x; loc, scale^2), elementwise."""
    return -0.5 * ((x - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)


def bernoulli_log_prob(x: Array, logits: Array) -> Array:
    """log p(x) of bits, summed over the last dimension."""
    return (x * logits - np.logaddexp(0, logits)).sum(-1)


def normal_grid(dimensions: int, points: int = 161, width: float = 8.0) -> tuple[Array, Array]:
    """Points of a standard normal, ``(points^dimensions, dimensions)``, and their log-weights (trapezoid rule)."""
    axis = np.linspace(-width, width, points)
    log_weight = normal_log_prob(axis, 0.0, 1.0) + np.log(axis[1] - axis[0])
    axes = np.meshgrid(*[axis] * dimensions, indexing="ij")
    weights = np.meshgrid(*[log_weight] * dimensions, indexing="ij")
    return np.stack([a.ravel() for a in axes], -1), sum(w.ravel() for w in weights)


def log_mean(log_weights: Array, log_likelihood: Array) -> Array:
    """log of the sum over points of weight times likelihood, ``(data,)``, from ``(points,)`` and ``(points, data)``."""
    from scipy.special import logsumexp

    return logsumexp(log_weights[:, None] + log_likelihood, axis=0)

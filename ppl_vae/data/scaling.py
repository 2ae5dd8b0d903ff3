"""Data on the scale of a standard normal distribution."""

from __future__ import annotations

from torch import Tensor

__all__ = ["scaled"]


def scaled(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Returns data less their mean, divided by one standard deviation of all their numbers.

    One scale for all numbers of a datum changes no gap and no difference of log-likelihoods.

    Arguments:
        x: The data, ``(data, ...)``.
        others: Further data, on which the mean and the scale of the first are used.

    Example:
        >>> import torch
        >>> [part.tolist() for part in scaled(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0]]))]
        [[[-0.7071067690849304], [0.7071067690849304]], [[0.0]]]
    """
    centre = x.mean(0)
    scale = (x - centre).std()
    return tuple((part - centre) / scale for part in (x, *others))

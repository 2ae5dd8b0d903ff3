"""Entropy and mutual information of probability tables."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["entropy", "mutual_information"]


def entropy(table: Tensor) -> float:
    r"""Returns :math:`-\sum p \log p` of a table of probabilities of any shape, in nats.

    Example:
        >>> round(entropy(torch.tensor([0.5, 0.5, 0.0])), 4)
        0.6931
    """
    return -float(torch.special.xlogy(table, table).sum())


def mutual_information(joint: Tensor) -> float:
    r"""Returns :math:`\sum p(a, b) \log \frac{p(a, b)}{p(a)\, p(b)}` of a table ``(a, b)``, in nats.

    Example:
        >>> round(mutual_information(torch.eye(2) / 2), 4), mutual_information(torch.full((2, 2), 0.25))
        (0.6931, 0.0)
    """
    product = joint.sum(0) * joint.sum(1, keepdim=True)
    return float(torch.where(joint > 0, joint * (joint / product).clamp(min=1e-300).log(), 0).sum())

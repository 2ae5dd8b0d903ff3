"""Distributions inside others, which declare, expand, mask, move or transform them."""

from __future__ import annotations

from pyro.distributions import TorchDistribution

__all__ = ["chain"]


def chain(fn: TorchDistribution) -> list[TorchDistribution]:
    """A distribution and those it is made of, from the outside to the inside."""
    parts = [fn]
    while (inner := getattr(parts[-1], "base_dist", None)) is not None:
        parts.append(inner)
    return parts

"""Checks of the sizes that models and networks are built with."""

from __future__ import annotations

__all__ = ["check_at_least"]


def check_at_least(least: int, **sizes: int) -> None:
    """Refuses sizes below a minimum.

    Arguments:
        least: Smallest allowed size.
        sizes: Sizes by name of the argument.

    Raises:
        ValueError: Naming the first that is smaller, with its value.

    Example:
        >>> check_at_least(1, latents=2, channels=0)
        Traceback (most recent call last):
        ValueError: channels must be at least 1, got 0
    """
    for name, size in sizes.items():
        if size < least:
            raise ValueError(f"{name} must be at least {least}, got {size}")

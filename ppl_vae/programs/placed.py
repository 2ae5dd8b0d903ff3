"""Guides with parameters for each place of a batch: known for all data together, and for no block of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ppl_vae.programs.execution import length

__all__ = ["FEW", "check_placed", "identity", "of_places", "placed", "refuse_placed"]

FEW = 5
"""Most data on which it is only looked at how a program runs."""

_PLACED: ContextVar[tuple[tuple[object, str, int], ...]] = ContextVar("placed", default=())


def identity(program: object) -> object:
    """What stays the same of a program, such as a method, which is another object at every look."""
    return id(getattr(program, "__self__", program)), getattr(program, "__func__", None)


@contextmanager
def placed(program: object, site: str | None, count: int) -> Iterator[None]:
    """Lets a guide inside run on all data together only, if the density of a site depends on the place of a datum.

    Arguments:
        program: The guide.
        site: The site; None if there is none.
        count: Number of data.
    """
    token = _PLACED.set(_PLACED.get() if site is None else (*_PLACED.get(), (identity(program), site, count)))
    try:
        yield
    finally:
        _PLACED.reset(token)


def check_placed(program: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuses to run such a guide on a block of the data.

    Raises:
        ValueError: Naming the site.
    """
    for known, site, whole in _PLACED.get():
        count = length(args, kwargs) if known == identity(program) else None
        if count is not None and FEW < count != whole:
            refuse_placed(site, whole)


def of_places(site: str) -> str:
    """What is wrong with such a site, in words."""
    return (
        f"the density of latent site {site!r} under the guide changes with the place of a datum in the batch, as with "
        "a parameter for each place"
    )


def refuse_placed(site: str | None, count: int) -> None:
    """Raises the error of a guide of which such a site is known, if there is one."""
    if site is not None:
        raise ValueError(
            f"{of_places(site)}: it is known for these {count} data together, which are too many to be run at once, "
            "and for no part of them; compute the parameters from the data (an amortised guide, such as mean_field), "
            "or measure fewer data"
        )

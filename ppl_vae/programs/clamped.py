"""Probabilities of latents that PyTorch clamps: below 1.2e-7, perhaps 0, they are taken as 1.2e-7."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch import distributions as families

from ppl_vae.programs.densities import Site, innermost

__all__ = ["Clamps", "watching_clamps", "are_unclamped", "note_clamped", "unclamped"]


@dataclass
class Clamps:
    """What a measurement knows of clamped probabilities.

    Arguments:
        strict: Whether their log-density is that of the probability as it is given; else it is PyTorch's, of 1.2e-7.
        sites: Names of the latent sites at which one was scored.
    """

    strict: bool = False
    sites: set[str] = field(default_factory=set)


_WATCHED: ContextVar[Clamps | None] = ContextVar("watched", default=None)


@contextmanager
def watching_clamps(strict: bool = False) -> Iterator[Clamps]:
    """Inside, the latent sites are collected at which a value of a smaller probability than 1.2e-7 is scored.

    PyTorch rounds probabilities that are given as ``probs`` up to 1.2e-7 (a log-probability of -15.9) when it takes
    their logarithm, so that a value that a program excludes is merely improbable.

    Arguments:
        strict: Whether such values have the log-density of their own probability, minus infinity of 0.
    """
    found = Clamps(strict)
    token = _WATCHED.set(found)
    try:
        yield found
    finally:
        _WATCHED.reset(token)


def are_unclamped() -> bool:
    """Whether probabilities are not rounded."""
    watched = _WATCHED.get()
    return watched is not None and watched.strict


def note_clamped(name: str, fn: torch.distributions.Distribution) -> None:
    """Collects a latent site with such a probability, of which the program's own scores may be left out."""
    watched, base = _WATCHED.get(), innermost(fn)
    if watched is not None and (probs := _given_probs(base)) is not None:
        least = torch.minimum(probs, 1 - probs) if isinstance(base, families.Bernoulli) else probs
        if bool((least < torch.finfo(probs.dtype).eps).any()):
            watched.sites.add(name)


def unclamped(site: Site, log_density: Tensor) -> Tensor:
    """The log-density of a site's value; of a latent without PyTorch's rounding, where that is asked for.

    Raises:
        ValueError: If the logits of a bit are infinite, of which PyTorch makes NaN, naming the site.
    """
    watched = _WATCHED.get()
    if watched is None or site["is_observed"] or not isinstance(site["value"], Tensor):
        return log_density
    base = innermost(site["fn"])
    logits = getattr(base, "_param", None) if isinstance(base, families.Bernoulli) else None
    if logits is not None and bool(logits.isinf().any()):
        raise ValueError(
            f"site {site['name']!r} has infinite logits, of whose density PyTorch makes NaN; leave bits that are "
            "certain out of the latents"
        )
    probs = _given_probs(base)
    if probs is None:
        return log_density
    excess = _excess(base, probs, site["value"])
    if not bool((excess > 0).any()):
        return log_density
    watched.sites.add(site["name"])
    if not watched.strict:
        return log_density
    if excess.ndim > log_density.ndim:
        excess = excess.flatten(log_density.ndim).sum(-1)
    return log_density - excess


def _given_probs(base: torch.distributions.Distribution) -> Tensor | None:
    """The probabilities of a discrete distribution that was made from probabilities; None of one made from logits."""
    base = getattr(base, "_categorical", base)
    if not isinstance(base, families.Bernoulli | families.Categorical | families.Binomial):
        return None
    probs: Tensor | None = base.__dict__.get("probs")
    return probs if probs is not None and base._param is probs else None


def _excess(base: torch.distributions.Distribution, probs: Tensor, value: Tensor) -> Tensor:
    """Nats by which rounding raises the log-density of a value, of the shape of what is scored once."""
    if isinstance(base, families.Bernoulli):
        return _raised(torch.where(value > 0, probs, 1 - probs))
    if isinstance(base, families.Binomial):
        rest = base.total_count - value
        ones, zeros = torch.where(value > 0, _raised(probs), 0.0), torch.where(rest > 0, _raised(1 - probs), 0.0)
        return value * ones + rest * zeros
    if isinstance(base, families.Categorical):
        index, probs = torch.broadcast_tensors(value.long().unsqueeze(-1), probs)
        return _raised(probs.gather(-1, index[..., :1])[..., 0])
    return torch.where(value > 0, value * _raised(probs), 0.0).sum(-1)  # one-hot vectors, counts


def _raised(probs: Tensor) -> Tensor:
    """Nats by which rounding raises the logarithm of a probability: 0 of most, infinite of 0."""
    probs = probs.detach()  # the gradient at 0 is not finite
    return probs.clamp(min=torch.finfo(probs.dtype).eps).log() - probs.log()

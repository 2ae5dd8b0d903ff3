"""Probabilities that PyTorch clamps: given as ``probs``, those below 1.2e-7, perhaps 0, are taken as 1.2e-7."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import log
from typing import Literal

import torch
from torch import Tensor
from torch import distributions as families

from ppl_vae.distributions.wrappers import chain
from ppl_vae.programs.densities import Site, innermost
from ppl_vae.programs.missing import counted, filled
from ppl_vae.programs.rearranged import Rearranged

__all__ = [
    "Clamps",
    "Role",
    "are_unclamped",
    "clamps_unwatched",
    "given_probs",
    "note_clamped",
    "rounding_on_average",
    "unclamped",
    "watching_clamps",
]

Role = Literal["latent", "observed"]
"""Sites by what a program does with their values."""


@dataclass
class Clamps:
    """What a measurement knows of clamped probabilities.

    Arguments:
        strict: The sites whose log-density is that of the probability as it is given; else it is PyTorch's, of 1.2e-7.
        sites: Names of the latent sites at which one was scored.
        observed: Names of the observed sites at which one was scored.
    """

    strict: Role | None = None
    sites: set[str] = field(default_factory=set)
    observed: set[str] = field(default_factory=set)


_WATCHED: ContextVar[Clamps | None] = ContextVar("watched", default=None)


@contextmanager
def watching_clamps(strict: Role | None = None) -> Iterator[Clamps]:
    """Inside, the sites are collected at which a value of a smaller probability than 1.2e-7 is scored.

    PyTorch rounds probabilities that are given as ``probs`` up to 1.2e-7 (a log-probability of -15.9) when it takes
    their logarithm, so that a value that a program excludes is merely improbable.

    Arguments:
        strict: Sites at which such values have the log-density of their own probability, minus infinity of 0.
    """
    found = Clamps(strict)
    token = _WATCHED.set(found)
    try:
        yield found
    finally:
        _WATCHED.reset(token)


@contextmanager
def clamps_unwatched() -> Iterator[None]:
    """Inside, nothing is watched, and densities are PyTorch's."""
    token = _WATCHED.set(None)
    try:
        yield
    finally:
        _WATCHED.reset(token)


def are_unclamped() -> bool:
    """Whether probabilities of latents are not rounded."""
    watched = _WATCHED.get()
    return watched is not None and watched.strict == "latent"


def given_probs(sites: Mapping[str, Site]) -> list[str]:
    """Names of the sites whose distributions are discrete and were made from probabilities, which may be rounded."""
    return [name for name, site in sites.items() if _given_probs(innermost(site["fn"])) is not None]


def note_clamped(name: str, fn: torch.distributions.Distribution) -> None:
    """Collects a latent site with such a probability, of which the program's own scores may be left out."""
    watched, base = _WATCHED.get(), innermost(fn)
    if watched is not None and (probs := _given_probs(base)) is not None:
        least = torch.minimum(probs, 1 - probs) if isinstance(base, _OF_TWO) else probs
        if bool((least < torch.finfo(probs.dtype).eps).any()):
            watched.sites.add(name)


def unclamped(site: Site, log_density: Tensor) -> Tensor:
    """The log-density of a site's value, without PyTorch's rounding of probabilities where that is asked for.

    Raises:
        ValueError: If the logits of a latent bit are infinite, of which PyTorch makes NaN, naming the site.
    """
    watched = _WATCHED.get()
    if watched is None or not isinstance(site["value"], Tensor):
        return log_density
    base, is_observed = innermost(site["fn"]), site["is_observed"]
    logits = getattr(base, "_param", None) if isinstance(base, families.Bernoulli) and not is_observed else None
    if logits is not None and bool(logits.isinf().any()):
        raise ValueError(
            f"site {site['name']!r} has infinite logits, of whose density PyTorch makes NaN; leave bits that are "
            "certain out of the latents"
        )
    probs = None if any(isinstance(part, Rearranged) for part in chain(site["fn"])) else _given_probs(base)
    if probs is None:
        return log_density
    value = filled(site)
    assert isinstance(value, Tensor)
    excess = _excess(base, probs, value)
    if is_observed and (counts := counted(site, value)) is not None:
        excess = torch.where(counts[..., 0] if base.event_shape else counts, excess, 0.0)
    if not bool((excess > 0).any()):
        return log_density
    (watched.observed if is_observed else watched.sites).add(site["name"])
    if watched.strict != ("observed" if is_observed else "latent"):
        return log_density
    if elements := site["fn"].event_dim - len(base.event_shape):
        excess = excess.flatten(excess.ndim - elements).sum(-1)
    return log_density - excess


def rounding_on_average(base: torch.distributions.Distribution, mean: Tensor) -> Tensor:
    """Nats by which rounding raises the log-probability of a latent on average; 0 where latents are rounded.

    Arguments:
        base: A distribution of a bit or of states; others are not rounded.
        mean: Probabilities of a one, ``(..., 1)``, or of the states, by which to average.
    """
    probs = _given_probs(base) if are_unclamped() else None
    if probs is None:
        return mean.new_zeros(())
    if isinstance(base, families.Bernoulli):
        mean, probs = (torch.stack([1 - each, each], -1) for each in (mean[..., 0], probs))
    return _times(mean, _raised(probs)).sum(-1)


_OF_TWO = (families.Bernoulli, families.Binomial, families.NegativeBinomial, families.Geometric)
"""Families whose probability is that of one of two outcomes."""


def _given_probs(base: torch.distributions.Distribution) -> Tensor | None:
    """The probabilities of a discrete distribution that was made from probabilities; None of one made from logits.

    Of a finite mixture those of its components.
    """
    if isinstance(base, families.MixtureSameFamily):
        base = base.mixture_distribution
    base = getattr(base, "_categorical", base)
    if not isinstance(base, (*_OF_TWO, families.Categorical)):
        return None
    probs: Tensor | None = base.__dict__.get("probs")
    if probs is not None and isinstance(base, families.Geometric):  # which does not say which of both it was given
        return probs if bool((base.logits.abs() <= 0.1 - log(torch.finfo(probs.dtype).eps)).all()) else None
    return probs if probs is not None and getattr(base, "_param", None) is probs else None


def _excess(base: torch.distributions.Distribution, probs: Tensor, value: Tensor) -> Tensor:
    """Nats by which rounding raises the log-density of a value, of the shape of what is scored once."""
    if isinstance(base, families.MixtureSameFamily):
        if not bool((probs < torch.finfo(probs.dtype).eps).any()):
            return probs.new_zeros(())
        densities = base.component_distribution.log_prob(base._pad(value)).detach()
        rounded, exact = ((densities + p.log()).logsumexp(-1) for p in (_clamped(probs), probs.detach()))
        return (rounded - exact).nan_to_num(0.0, posinf=torch.inf)
    if isinstance(base, families.Bernoulli):
        return _raised(torch.where(value > 0, probs, 1 - probs))
    if isinstance(base, families.Binomial):
        return _times(value, _raised(probs)) + _times(base.total_count - value, _raised(1 - probs))
    if isinstance(base, families.NegativeBinomial):
        return _times(value, _raised(probs)) + _times(base.total_count, _raised(1 - probs))
    if isinstance(base, families.Geometric):
        return _raised(probs) + _times(value, _raised(1 - probs))
    if isinstance(base, families.Categorical):
        index, probs = torch.broadcast_tensors(value.long().unsqueeze(-1), probs)
        return _raised(probs.gather(-1, index[..., :1])[..., 0])
    return _times(value, _raised(probs)).sum(-1)  # one-hot vectors, counts


def _times(count: Tensor, nats: Tensor) -> Tensor:
    return torch.where(count > 0, count * nats, 0.0)


def _clamped(probs: Tensor) -> Tensor:
    return probs.detach().clamp(min=torch.finfo(probs.dtype).eps)  # the gradient at 0 is not finite


def _raised(probs: Tensor) -> Tensor:
    """Nats by which rounding raises the logarithm of a probability: 0 of most, infinite of 0."""
    return _clamped(probs).log() - probs.detach().log()

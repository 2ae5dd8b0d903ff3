"""The latents of a datum as two flat vectors, one of real numbers and one of bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.transforms import Transform

from ppl_vae import exponential_family
from ppl_vae.log_weight import latents, run
from ppl_vae.randomness import kept_random_state

__all__ = ["Coordinates"]

Program = Callable[..., Any]


@dataclass(frozen=True)
class _Part:
    """One site's share of a flat vector."""

    name: str
    shape: torch.Size
    place: slice
    transform: Transform | None


class Coordinates:
    """Maps the latents of a model to flat vectors and back.

    Continuous latents become unconstrained real numbers (a positive one its logarithm, and so on), whose densities
    carry the Jacobian of that map; Bernoulli latents are bits.

    Arguments:
        model: The model.
        x: A few data.

    Raises:
        ValueError: If a latent is neither continuous nor a bit, naming the site.
    """

    def __init__(self, model: Program, x: Any) -> None:
        with kept_random_state(), torch.no_grad():
            sites = latents(run(model, (x[:1],), {}, draws=1))
        self.real: list[_Part] = []
        self.bits: list[_Part] = []
        self.dimensions = self.width = 0
        for name, site in sites.items():
            fn, value = site["fn"], site["value"]
            shape = value.shape[2:]
            if exponential_family.bit_logits(fn) is not None:
                size = shape.numel()
                self.bits.append(_Part(name, shape, slice(self.width, self.width + size), None))
                self.width += size
            elif value.is_floating_point() and not fn.support.is_discrete:
                transform = biject_to(fn.support)
                inner = transform.inv(value).shape[2:]
                size = inner.numel()
                self.real.append(_Part(name, inner, slice(self.dimensions, self.dimensions + size), transform))
                self.dimensions += size
            else:
                raise ValueError(
                    f"site {name!r} is {exponential_family.family(fn)}; latents must be continuous, or bits"
                )

    def values(self, real: Tensor, bits: Tensor) -> dict[str, Tensor]:
        """Latents by site from flat vectors, ``(draws, batch, dimensions)`` and ``(draws, batch, width)``."""
        found = {}
        for part in self.real:
            assert part.transform is not None
            found[part.name] = part.transform(real[..., part.place].reshape(*real.shape[:2], *part.shape))
        for part in self.bits:
            found[part.name] = bits[..., part.place].reshape(*bits.shape[:2], *part.shape)
        return found

    def flat(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The flat vectors of latents by site, ``(draws, batch, dimensions)`` and ``(draws, batch, width)``."""
        first = next(iter(values.values()))
        empty = first.new_zeros(*first.shape[:2], 0)
        lead = (*first.shape[:2], -1)
        real = [part.transform.inv(values[part.name]).reshape(lead) for part in self.real if part.transform]
        bits = [values[part.name].reshape(lead) for part in self.bits]
        return torch.cat(real, -1) if real else empty, torch.cat(bits, -1) if bits else empty

    def log_jacobian(self, real: Tensor) -> Tensor | float:
        """What a log-density of the latents gains as one of the flat real vector, ``(draws, batch)``."""
        found = []
        for part in self.real:
            assert part.transform is not None
            inner = real[..., part.place].reshape(*real.shape[:2], *part.shape)
            change = part.transform.log_abs_det_jacobian(inner, part.transform(inner))
            found.append(change.reshape(*real.shape[:2], -1).sum(-1))
        return reduce(torch.add, found) if found else 0.0

    def prior_draws(self, model: Program, x: Any, draws: int) -> Tensor:
        """Draws of the flat real vector from the prior, ``(draws, dimensions)``, as one datum sees it."""
        with torch.no_grad():
            sites = latents(run(model, (x[:1],), {}, draws=draws))
        return self.flat({name: site["value"] for name, site in sites.items()})[0][:, 0]

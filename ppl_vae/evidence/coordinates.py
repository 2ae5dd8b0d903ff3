"""The latents of a datum as two flat vectors, one of real numbers and one of bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.distributions import Distribution, VonMises, biject_to
from torch.distributions.transforms import Transform

from ppl_vae.data.counts import Batch
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.bits import BitsDistribution
from ppl_vae.programs.handlers import SubstituteLatents, latents, log_prob, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program

__all__ = ["Coordinates", "one_prior"]


@dataclass(frozen=True)
class _Part:
    """The part of a flat vector that belongs to one site."""

    name: str
    shape: torch.Size
    place: slice
    transform: Transform | None
    dtype: torch.dtype


class Coordinates:
    """Maps the latents of a model to flat vectors and back.

    Continuous latents become unconstrained real numbers (a positive one its logarithm, and so on), whose densities
    include the Jacobian of that map; Bernoulli latents are bits.

    Arguments:
        model: The model.
        x: A few data points.

    Raises:
        ValueError: If a latent is neither continuous nor a bit, or its support is not the same for all data, naming the
            site.
    """

    def __init__(self, model: Program, x: Batch) -> None:
        with fork_random_state(), torch.no_grad():
            sites = latents(run(model, (x[:1],), {}, draws=1))
            others = latents(run(model, (x[:4],), {}, draws=3))
        self.real: list[_Part] = []
        self.bits: list[_Part] = []
        self.dimensions = self.width = 0
        for name, site in sites.items():
            fn, value = site["fn"], site["value"]
            shape = value.shape[2:]
            if isinstance(exponential_family.base(fn), (torch.distributions.Bernoulli, BitsDistribution)):
                size = shape.numel()
                self.bits.append(_Part(name, shape, slice(self.width, self.width + size), None, value.dtype))
                self.width += size
                continue
            transform = _to_real_numbers(fn, value)
            if transform is None:
                raise ValueError(
                    f"site {name!r} is {exponential_family.family(fn)}; latents must be bits, or continuous "
                    "with a known map to the real numbers"
                )
            inner = transform.inv(value)
            origin, elsewhere = transform(torch.zeros_like(inner)), _to_real_numbers(others[name]["fn"], value)
            assert elsewhere is not None
            shifted = elsewhere(torch.zeros(*others[name]["value"].shape[:2], *inner.shape[2:]).to(inner))
            if not torch.equal(shifted, origin.expand_as(shifted)):
                raise ValueError(f"the support of site {name!r} differs between data, or between draws of other sites")
            size = inner.shape[2:].numel()
            place = slice(self.dimensions, self.dimensions + size)
            self.real.append(_Part(name, inner.shape[2:], place, transform, value.dtype))
            self.dimensions += size

    def values(self, real: Tensor, bits: Tensor) -> dict[str, Tensor]:
        """Returns latents by site from flat vectors, ``(draws, batch, dimensions)`` and ``(draws, batch, width)``."""
        values = {}
        for part in self.real:
            assert part.transform is not None
            inner = real[..., part.place].reshape(*real.shape[:2], *part.shape)
            values[part.name] = part.transform(inner).to(part.dtype)
        for part in self.bits:
            values[part.name] = bits[..., part.place].reshape(*bits.shape[:2], *part.shape).to(part.dtype)
        return values

    def flat(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the flat vectors of latents by site, ``(draws, batch, dimensions)`` and ``(draws, batch, width)``."""
        first = next(iter(values.values()))
        empty = first.new_zeros(*first.shape[:2], 0)
        lead = (*first.shape[:2], -1)
        real = [part.transform.inv(values[part.name]).reshape(lead) for part in self.real if part.transform]
        bits = [values[part.name].reshape(lead) for part in self.bits]
        return torch.cat(real, -1) if real else empty, torch.cat(bits, -1) if bits else empty

    def log_jacobian(self, real: Tensor) -> Tensor | float:
        """Returns the log-determinant of the map from the flat real vector to the latents, ``(draws, batch)``."""
        changes = []
        for part in self.real:
            assert part.transform is not None
            inner = real[..., part.place].reshape(*real.shape[:2], *part.shape)
            change = part.transform.log_abs_det_jacobian(inner, part.transform(inner))
            changes.append(change.reshape(*real.shape[:2], -1).sum(-1))
        return reduce(torch.add, changes) if changes else 0.0

    def prior_draws(self, model: Program, x: Batch, draws: int) -> Tensor:
        """Returns samples of the flat real vector from the prior of the first datum, ``(draws, dimensions)``."""
        with torch.no_grad():
            sites = latents(run(model, (x[:1],), {}, draws=draws))
        return self.flat({name: site["value"] for name, site in sites.items()})[0][:, 0]

    def saturated(self, real: Tensor) -> Tensor:
        """Returns where a latent is rounded to the end of its support and cannot be inverted, ``(draws, batch)``."""
        saturated = torch.zeros(real.shape[:2], dtype=torch.bool, device=real.device)
        for part in self.real:
            assert part.transform is not None
            inner = real[..., part.place].reshape(*real.shape[:2], *part.shape)
            back = part.transform.inv(part.transform(inner))
            wrong = ~((back - inner).abs() <= 0.01 * (1 + inner.abs()))
            saturated |= wrong.reshape(*real.shape[:2], -1).any(-1)
        return saturated


def _to_real_numbers(fn: Distribution, value: Tensor) -> Transform | None:
    """The map from real numbers to a distribution's support; None if there is none, or the support is a circle."""
    try:
        support = fn.support
        if support is None or not value.is_floating_point() or support.is_discrete:
            return None
        if isinstance(exponential_family.base(fn), VonMises):
            return None
        transform: Transform = biject_to(support)
        return transform
    except NotImplementedError:
        return None


def one_prior(model: Program, x: Batch) -> bool:
    """Returns whether latents have the same prior density for all of a few data points."""
    with fork_random_state(), torch.no_grad():
        first = {name: site["value"][:, :1] for name, site in latents(run(model, (x,), {}, draws=1)).items()}
        shared = {name: value.expand(-1, len(x), *value.shape[2:]).clone() for name, value in first.items()}
        sites = latents(run(model, (x,), {}, draws=1, handler=SubstituteLatents(shared)))
    densities = torch.stack([log_prob(site)[0] for site in sites.values()])
    return torch.allclose(densities, densities[:, :1].expand_as(densities), rtol=1e-4, atol=1e-4, equal_nan=True)

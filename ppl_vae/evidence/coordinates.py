"""The latents of a datum as two flat vectors, one of real numbers and one of bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.distributions import Distribution, MixtureSameFamily, VonMises, biject_to, constraints
from torch.distributions.transforms import Transform

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.bits import BitsDistribution
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.densities import agree, has_dependent_support, innermost
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
        self.real: list[_Part] = []
        self.bits: list[_Part] = []
        self.dimensions = self.width = 0
        varying = list[str]()
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
                    "with a known map to the real numbers; the automatic method of ppl-vae evidence (pv.measure) sums "
                    "over few states"
                )
            inner = transform.inv(value)
            if has_dependent_support(fn) and not isinstance(innermost(fn), MixtureSameFamily):
                varying.append(name)
            size = inner.shape[2:].numel()
            place = slice(self.dimensions, self.dimensions + size)
            self.real.append(_Part(name, inner.shape[2:], place, transform, value.dtype))
            self.dimensions += size
        if varying:
            self._check_supports(model, x, varying)

    def _check_supports(self, model: Program, x: Batch, names: list[str]) -> None:
        """Checks that supports which depend on parameters are the same for all data."""
        step = data_block(x, 1000 * PROBES)
        for start in range(0, len(x), step):
            with fork_random_state(), torch.no_grad():
                sites = run(model, (x[start : start + step],), {}, draws=PROBES)
            for part in self.real:
                if part.name not in names:
                    continue
                site = sites[part.name]
                here = _to_real_numbers(site["fn"], site["value"])
                assert here is not None and part.transform is not None
                origin = torch.zeros(*site["value"].shape[:2], *part.shape).to(site["value"])
                if not torch.equal(here(origin), part.transform(origin)):
                    raise ValueError(
                        f"the support of site {part.name!r} differs between data, or between draws of other sites"
                    )

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
        support = _support(fn)
        if support is None or not value.is_floating_point() or support.is_discrete:
            return None
        if isinstance(exponential_family.base(fn), VonMises):
            return None
        transform: Transform = biject_to(support)
        return transform
    except NotImplementedError:
        return None


def _support(fn: Distribution) -> constraints.Constraint | None:
    """The support of a distribution; of a mixture that of its components."""
    inner = innermost(fn)
    if not isinstance(inner, MixtureSameFamily):
        return fn.support
    part = inner.component_distribution
    if has_dependent_support(part) or part.support is None:
        return None
    dims = len(fn.event_shape) - part.support.event_dim
    return constraints.independent(part.support, dims) if dims else part.support


def one_prior(model: Program, x: Batch) -> bool:
    """Returns whether latents have the same prior density for all data."""
    with fork_random_state(), torch.no_grad():
        first = latents(run(model, (x[:1],), {}, draws=PROBES))
        expected = {name: log_prob(site) for name, site in first.items()}
        step = data_block(x, 1000 * PROBES)
        for start in range(0, len(x), step):
            part = x[start : start + step]
            shared = {n: s["value"].expand(-1, len(part), *s["value"].shape[2:]).clone() for n, s in first.items()}
            sites = latents(run(model, (part,), {}, draws=PROBES, handler=SubstituteLatents(shared)))
            for name, site in sites.items():
                density = log_prob(site)
                same = expected[name].expand_as(density)
                if not agree(density, same):
                    return False
    return True


PROBES = 3
"""Samples at which what should be the same for all data is compared."""

"""The members of a guide's family: what they are made from, and where a search for the best begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional

from ppl_vae.data.counts import Batch
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.amortised import AmortisedGuide, Latent, independents, parameter_count, parameters_of
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.types import Program

__all__ = ["PerDatumGuide", "VariationalFamily", "members_of", "structured", "unknown_family"]

FAMILIES = ("Bernoulli", "categorical", "one-hot categorical", "normal", "multivariate normal")
"""Of sites that are independent of each other, whatever program draws them."""

LOOSE = (0.1, 0.5, 2.0)
"""How far from zero the couplings of one start after the other are."""


class PerDatumGuide(nn.Module):
    """A guide without a network: each datum has numbers of its own.

    Arguments:
        members: Makes distributions by site from them.
        free: The numbers, ``(data, numbers)``.
    """

    def __init__(self, members: Callable[[Tensor], dict[str, Distribution]], free: Tensor) -> None:
        super().__init__()
        self.members, self.free = members, nn.Parameter(free.clone())

    def forward(self, x: Batch) -> None:
        with pyro.plate("data", len(x)):
            for name, fn in self.members(self.free).items():
                pyro.sample(name, fn)


@dataclass(frozen=True)
class VariationalFamily:
    """A guide's family.

    Arguments:
        words: What it is called.
        latents: What its independent members draw; their parameters come first among a member's numbers.
        make: Distributions by site from numbers ``(..., numbers)``.
        own: The numbers of the guide's own members, ``(data, numbers)``, from the data.
    """

    words: str
    latents: list[Latent]
    make: Callable[[Tensor], dict[str, Distribution]]
    own: Callable[[Batch], Tensor]

    def loosened(self, start: Tensor, numbers: int, which: int) -> Tensor:
        """Independent members' parameters ``(data, parameters)`` with couplings by chance, ``(data, numbers)``.

        At zero the bound may have no slope in them.
        """
        more = start.new_empty(len(start), numbers - start.shape[-1]).normal_()
        return torch.cat([start, LOOSE[which % len(LOOSE)] * more], -1)

    def from_prior(self, drawn: dict[str, Tensor], numbers: int, which: int) -> Tensor:
        """Start number ``which``, ``(data, numbers)``, with the moments of prior draws ``(draws, data, *event)``."""
        start = torch.cat([_moments(latent, drawn[latent.name], which) for latent in self.latents], -1)
        return self.loosened(start, numbers, which)


def structured(guide: Program) -> VariationalFamily | None:
    """The family of a guide of this package that couples latents by numbers alone; None for all others."""
    if isinstance(guide, AmortisedGuide) and guide.family is not None:
        return VariationalFamily(guide.family, guide.latents, guide.members, guide.encoder)
    return None


def unknown_family(guide: Program, x: Batch) -> str | None:
    """Why the members of a guide's family cannot be gone through, naming the site; None if they can."""
    if structured(guide) is not None:
        return None
    sites = guide_sites(guide, (x[:2],))
    if not all(site.independent for site in sites):
        names = ", ".join(repr(site.name) for site in sites)
        return f"the family of a guide whose sites {names} depend on each other is not known"
    for name, latent in _drawn(guide, x[:2])[0].items():
        if latent.family not in FAMILIES:
            return f"the family of site {name!r} of the guide, {latent.family}, is none of {', '.join(FAMILIES)}"
    return None


def members_of(guide: Program, x: Batch) -> VariationalFamily:
    """A guide's family.

    Raises:
        ValueError: If it is not known, naming the site.
    """
    reason, coupled = unknown_family(guide, x), structured(guide)
    if reason is not None:
        raise ValueError(reason)
    if coupled is not None:
        return coupled
    result = _drawn(guide, x[:2])[0]
    families = {name: result[name].family for name in sorted(result)}
    alike = len(set(families.values())) == 1
    words = next(iter(families.values())) if alike else ", ".join(f"{n} {family}" for n, family in families.items())
    own = list(result.values())

    def numbers(data: Batch) -> Tensor:
        fns = _drawn(guide, data)[1]
        return torch.cat([parameters_of(latent, fns[latent.name])[0] for latent in own], -1)

    return VariationalFamily(f"independent latents, {words}", own, partial(independents, own), numbers)


def _drawn(guide: Program, x: Batch) -> tuple[dict[str, Latent], dict[str, Distribution]]:
    """What a guide draws, and from which distributions, by site."""
    with fork_random_state(), evaluating(guide):
        fns = {name: site["fn"] for name, site in latents(run(guide, (x,), {}, draws=1)).items()}
    return {name: Latent.of(name, fn) for name, fn in fns.items()}, fns


def _moments(latent: Latent, drawn: Tensor, which: int) -> Tensor:
    """Parameters ``(data, parameters)`` with the moments of prior draws ``(draws, data, *event)``.

    After the first, which is the prior itself, half-way to one draw: mean half-way, deviation half as wide.
    """
    if latent.family == "categorical":
        drawn = functional.one_hot(drawn.long(), latent.states).to(torch.get_default_dtype())
    mean = drawn.mean(0) if which == 0 else (drawn.mean(0) + drawn[which]) / 2
    if latent.family == "Bernoulli":
        parts = [mean.clamp(0.02, 0.98).logit()]
    elif "categorical" in latent.family:
        parts = [mean.clamp(min=0.1 / latent.states).log()]
    else:
        parts = [mean, drawn.std(0).log() - (0.7 if which else 0)]
    if latent.family == "multivariate normal":
        parts.append(mean.new_zeros(len(mean), parameter_count(latent) - 2 * latent.size))
    return torch.cat([part.reshape(len(mean), -1) for part in parts], -1)

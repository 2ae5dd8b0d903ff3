"""The members of a guide's family: their parameters, and starting points of a search for the best member."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.gap.corrected import corrected_family
from ppl_vae.diagnostics.gap.gap import STRUCTURE
from ppl_vae.diagnostics.gap.starts import PRIOR, Draws
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.amortised import AmortisedGuide, independents, parameter_count, parameters_of
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.latent import Latent
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.types import Program

__all__ = ["GuideFamily", "PerDatumGuide", "VariationalFamily", "members_of", "structured", "unknown_family"]

FAMILIES = ("Bernoulli", "categorical", "one-hot categorical", "normal", "multivariate normal")
"""Families of independent sites whose members have parameters of their own; other guides are corrected."""

DOUBT = 0.002
"""Least probability of a value at a start: with more, what is all but impossible around a mode drives away from it;
with much less, draws never change."""

LOOSE = (0.1, 0.5, 2.0)
"""Standard deviations of the random couplings, one start after the other."""


class PerDatumGuide(nn.Module):
    """A guide without a network: each datum has its own parameters.

    Arguments:
        members: Function from parameters to distributions by site.
        free: The parameters, ``(data, numbers)``.
    """

    def __init__(self, members: Callable[[Tensor], dict[str, Distribution]], free: Tensor) -> None:
        super().__init__()
        self.members, self.free = members, nn.Parameter(free.clone())

    def forward(self, *args: object, **kwargs: object) -> None:
        with pyro.plate("data", len(self.free)):
            for name, fn in self.members(self.free).items():
                pyro.sample(name, fn)


class PerDatumProgram(Protocol):
    """A guide with parameters for each datum, ``free``, ``(data, numbers)``."""

    free: nn.Parameter

    def __call__(self, *args: object, **kwargs: object) -> None:
        """Draws the latents of these data."""


class GuideFamily(Protocol):
    """What a search for the best member needs."""

    @property
    def name(self) -> str:
        """Name of the family."""
        ...

    def guide_parameters(self, x: Batch) -> Tensor:
        """Parameters of the guide's own members, ``(data, numbers)``."""
        ...

    def from_draws(self, draws: Draws, weights: Tensor, numbers: int, which: int) -> Tensor:
        """Another start, number ``which``, ``(data, numbers)``, at draws with these weights, ``(draws, data)``."""
        ...

    def program(self, free: Tensor) -> PerDatumProgram:
        """The guide with these parameters."""
        ...


@dataclass(frozen=True)
class VariationalFamily:
    """A guide's family.

    Arguments:
        name: Name of the family.
        latents: Latents of its independent members, whose parameters come first among those of a member.
        make: Function from parameters ``(..., numbers)`` to distributions by site.
        guide_parameters: Function from data to the parameters of the guide's own members, ``(data, numbers)``.
    """

    name: str
    latents: list[Latent]
    make: Callable[[Tensor], dict[str, Distribution]]
    guide_parameters: Callable[[Batch], Tensor]

    def program(self, free: Tensor) -> PerDatumGuide:
        """The guide with parameters ``(data, numbers)``."""
        return PerDatumGuide(self.make, free)

    def with_couplings(self, start: Tensor, numbers: int, which: int) -> Tensor:
        """Adds random couplings to parameters of independent members, ``(data, parameters)``: ``(data, numbers)``.

        At zero the bound may have no gradient with respect to couplings.
        """
        more = start.new_empty(len(start), numbers - start.shape[-1]).normal_()
        return torch.cat([start, LOOSE[which % len(LOOSE)] * more], -1)

    def from_draws(self, draws: Draws, weights: Tensor, numbers: int, which: int) -> Tensor:
        """Start number ``which``, ``(data, numbers)``, with the moments of weighted draws."""
        start = torch.cat([_moments(latent, draws.values[latent.name], weights) for latent in self.latents], -1)
        return self.with_couplings(start, numbers, which)


def structured(guide: Program) -> VariationalFamily | None:
    """Returns the family of an amortised guide with couplings given by parameters; None for other guides."""
    if isinstance(guide, AmortisedGuide) and guide.family is not None:
        return VariationalFamily(guide.family, guide.latents, guide.members, guide.encoder)
    return None


def unknown_family(guide: Program, x: Batch) -> str | None:
    """Returns why the members of a guide's family cannot be searched, naming the site; None if they can."""
    try:
        members_of(guide, x)
    except ValueError as error:
        return str(error)
    return None


def members_of(guide: Program, x: Batch) -> GuideFamily:
    """Returns a guide's family: all members where they are known, else those of its structure.

    Of an amortised guide whose sites have no known parameters, such as a flow, they are those that other outputs of its
    encoder make, all its other networks fixed.

    Raises:
        ValueError: If neither is known, naming the site.
    """
    coupled = structured(guide)
    if coupled is not None:
        return coupled
    sites, result = guide_sites(guide, (x[:2],)), _drawn(guide, x[:2])[0]
    if not all(site.independent for site in sites) or any(each.family not in FAMILIES for each in result.values()):
        try:
            return corrected_family(guide, x)
        except ValueError:
            if not isinstance(guide, AmortisedGuide) or type(guide).members is AmortisedGuide.members:
                raise
            # A flow, say: its networks are the same for all data, what the encoder tells them of a datum is not.
            name = f"{STRUCTURE}, its encoder's outputs free for each datum, its other networks fixed"
            return VariationalFamily(name, guide.latents, guide.members, guide.encoder)
    families = {name: result[name].description for name in sorted(result)}
    alike = len(set(families.values())) == 1
    description = (
        next(iter(families.values())) if alike else ", ".join(f"{n} {family}" for n, family in families.items())
    )
    latents_of_guide = list(result.values())

    def numbers(data: Batch) -> Tensor:
        fns = _drawn(guide, data)[1]
        return torch.cat([parameters_of(latent, fns[latent.name])[0] for latent in latents_of_guide], -1)

    return VariationalFamily(
        f"independent latents, {description}", latents_of_guide, partial(independents, latents_of_guide), numbers
    )


def _drawn(guide: Program, x: Batch) -> tuple[dict[str, Latent], dict[str, Distribution]]:
    """Latents of a guide and their distributions, by site."""
    with fork_random_state(), evaluating(guide):
        fns = {name: site["fn"] for name, site in latents(run(guide, (x,), {}, draws=1)).items()}
    return {name: Latent.of(name, fn) for name, fn in fns.items()}, fns


def _moments(latent: Latent, drawn: Tensor, weights: Tensor) -> Tensor:
    """Parameters ``(data, parameters)`` with the moments of draws ``(draws, data, *event)``, those of the prior first.

    A single draw has no deviation: it is at least a tenth of the prior's.
    """
    drawn = latent.numbers(drawn)
    if latent.family == "categorical":
        drawn = functional.one_hot(drawn.long(), latent.states).to(torch.get_default_dtype())
    weights = weights.view(*weights.shape, *[1] * (drawn.dim() - 2)).to(drawn) * drawn.isfinite()
    weights = weights / weights.sum(0).clamp(min=1e-9)  # without what is rounded to the end of a support
    drawn = torch.where(drawn.isfinite(), drawn, 0)
    mean = (weights * drawn).sum(0)
    if latent.family == "Bernoulli":
        parts = [mean.clamp(DOUBT, 1 - DOUBT).logit()]
    elif "categorical" in latent.family:
        parts = [mean.clamp(min=DOUBT / latent.states).log()]
    else:
        deviation = (weights * (drawn - mean).square()).sum(0).sqrt()
        parts = [mean, torch.maximum(deviation, drawn[:PRIOR].std(0) / 10).log()]
    if latent.family == "multivariate normal":
        parts.append(mean.new_zeros(len(mean), parameter_count(latent) - 2 * latent.size))
    return torch.cat([part.reshape(len(mean), -1) for part in parts], -1)

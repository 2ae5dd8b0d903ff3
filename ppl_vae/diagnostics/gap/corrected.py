"""The members of a guide's own structure: its sites, with parameters corrected for each datum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.gap.gap import STRUCTURE
from ppl_vae.diagnostics.gap.starts import Draws
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.free_parameters import free_parameters, has_free_parameters, with_parameters
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.densities import Site
from ppl_vae.programs.handlers import DRAWS, latents, run
from ppl_vae.programs.layouts import layout_of
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.types import Program
from ppl_vae.programs.unobserved import MasksOfDraws

__all__ = ["CorrectedFamily", "corrected_family"]

SPREADS = (0.1, 0.5, 1.0)
"""Standard deviations of random corrections, one start after the other."""


@dataclass(frozen=True)
class _Correction:
    """The numbers of one site among the corrections of a datum: shifts, and for a dependent site log-factors."""

    place: slice
    shifts: int


class CorrectedGuide(nn.Module):
    """A guide whose parameters are corrected for each datum.

    Arguments:
        guide: The guide.
        corrections: Places of the corrections by site.
        free: The corrections, ``(data, numbers)``.
    """

    def __init__(self, guide: Program, corrections: dict[str, _Correction], free: Tensor) -> None:
        super().__init__()
        self._guide, self._corrections = (guide,), corrections  # in a tuple: its parameters are not learned here
        self.free = nn.Parameter(free.clone())

    def forward(self, *args: object, **kwargs: object) -> None:
        guide = self._guide[0]
        with _Correct(self._corrections, self.free, layout_of(guide, args, kwargs).names):
            guide(*args, **kwargs)


class _Correct(MasksOfDraws):
    def __init__(self, corrections: dict[str, _Correction], free: Tensor, over_data: frozenset[str]) -> None:
        super().__init__()
        self.corrections, self.free, self.over_data = corrections, free, over_data

    def _pyro_sample(self, msg: Site) -> None:
        correction = self.corrections.get(msg["name"])
        if correction is None:
            return
        super()._pyro_sample(msg)  # parameters are those of the distribution without its mask
        numbers, free = free_parameters(msg["fn"]), self.free[:, correction.place]
        for part, factors in reversed([*enumerate(free.split(correction.shifts, -1))]):
            placed = self._placed(factors, msg, numbers)
            numbers = numbers * placed.exp() if part else numbers + placed
        msg["fn"] = with_parameters(msg["fn"], numbers)

    def _placed(self, values: Tensor, msg: Site, numbers: Tensor) -> Tensor:
        """Values of each datum, ``(data, numbers)``, as plates of a site lie, ``(*batch, numbers of an element)``."""
        dims = [frame.dim for frame in msg["cond_indep_stack"] if frame.name != DRAWS and frame.dim is not None]
        data = next(f.dim for f in msg["cond_indep_stack"] if f.name in self.over_data)
        nested = sorted(dim for dim in dims if dim != data)
        # Where the data are repeated for each sample, so are their corrections.
        values = values.repeat(numbers.shape[data - 1] // len(values), 1)
        values = values.unflatten(-1, [*(numbers.shape[dim - 1] for dim in nested), numbers.shape[-1]])
        dims = [data, *nested]
        order = sorted(range(len(dims)), key=dims.__getitem__)
        values = values.permute(*order, len(dims))
        for dim in range(-1, min(dims) - 1, -1):
            values = values if dim in dims else values.unsqueeze(dim - 1)
        return values


@dataclass(frozen=True)
class CorrectedFamily:
    r"""The members of a guide's own structure: each site as the guide draws it, with other parameters for each datum.

    .. math:: q_i(z) = \prod_j q\bigl(z_j \mid a_{ij} \odot \eta_j(z_{<j}, x_i) + b_{ij}\bigr)

    with the parameters :math:`\eta_j` of site j (logits, means, logarithms of scales and rates) as the guide computes
    them from the sites before. A site that does not depend on others is shifted only, :math:`a = 1`, which reaches all
    of its family. Of a site that does, the members are a part of the structure: all its dependences on other sites are
    affine functions of the guide's own.

    Arguments:
        name: Name of the family.
        guide: The guide.
        corrections: Places of the corrections by site.
        count: Number of corrections of a datum.
    """

    name: str
    guide: Program
    corrections: dict[str, _Correction]
    count: int

    def guide_parameters(self, x: Batch) -> Tensor:
        """The corrections of the guide itself, zero."""
        return torch.zeros(len(x), self.count, device=getattr(x, "device", None))

    def from_draws(self, draws: Draws, weights: Tensor, numbers: int, which: int) -> Tensor:
        """Start number ``which``, ``(data, numbers)``: random corrections, wherever the draws lie."""
        return SPREADS[which % len(SPREADS)] * torch.randn(weights.shape[1], numbers)

    def program(self, free: Tensor) -> CorrectedGuide:
        """The guide with corrections ``(data, numbers)``."""
        return CorrectedGuide(self.guide, self.corrections, free)


def corrected_family(guide: Program, x: Batch) -> CorrectedFamily:
    """Returns the family of a guide with corrected parameters.

    Raises:
        ValueError: If the parameters of a site are not known, or it lies in other plates than that of the data, naming
            the site.
    """
    sites = guide_sites(guide, (x[:2],))
    with fork_random_state(), evaluating(guide):
        drawn = latents(run(guide, (x[:2],), {}, draws=1))
    corrections, count, words = {}, 0, []
    for site in sites:
        fn, frames = drawn[site.name]["fn"], drawn[site.name]["cond_indep_stack"]
        family = exponential_family.family(fn)
        if not has_free_parameters(fn):
            raise ValueError(
                f"the family of site {site.name!r} of the guide, {family}, is none of those whose parameters are known"
            )
        if len([frame for frame in frames if frame.name != DRAWS]) != 1:
            raise ValueError(f"site {site.name!r} of the guide lies in other plates than that of the data")
        shifts = free_parameters(fn).shape[-1]
        size = shifts if site.independent else 2 * shifts
        corrections[site.name] = _Correction(slice(count, count + size), shifts)
        count += size
        words.append(f"{site.name} {family}" + ("" if site.independent else " given others"))
    if all(site.independent for site in sites):
        families = {exponential_family.family(drawn[site.name]["fn"]) for site in sites}
        name = f"independent latents, {families.pop() if len(families) == 1 else ', '.join(sorted(words))}"
    else:
        name = f"{STRUCTURE}, corrected for each datum: {', '.join(words)}"
    return CorrectedFamily(name, guide, corrections, count)

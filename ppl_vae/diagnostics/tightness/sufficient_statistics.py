"""Sufficient statistics of a guide's family: the coordinates in which a posterior is compared with it."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.bits import UNIVERSAL
from ppl_vae.programs.handlers import Sites, SubstituteLatents, check_cover, latents, log_prob, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.types import Program
from ppl_vae.programs.unobserved import check_none

__all__ = ["SufficientStatistics", "decoded", "log_prior", "precise"]


class SufficientStatistics:
    r"""Sufficient statistics and base measure of a guide's family.

    ``count`` is the number of statistics, ``description`` names the family, ``universal`` says whether it holds every
    distribution of the latents, and ``eps`` is the relative rounding error of the latents.

    Arguments:
        guide: The guide.
        model: Its model.
        x: A few data points.

    Raises:
        ValueError: If the sites depend on each other, or the statistics of one are not known, naming it.
    """

    def __init__(self, guide: Program, model: Program, x: Batch) -> None:
        drawn = guide_sites(guide, (x,))
        with fork_random_state():
            few = run(guide, (x,), {}, draws=1)
            scored = run(model, (x,), {}, draws=1)
            check_cover(scored, few)
            check_none(scored, "the test of tightness")
        drawn_values = [site["value"] for sites in (scored, few) for site in latents(sites).values()]
        self.eps = max((torch.finfo(v.dtype).eps for v in drawn_values if v.is_floating_point()), default=0.0)
        self.fns = {name: site["fn"] for name, site in latents(few).items()}
        names = ", ".join(repr(name) for name in self.fns)
        if not all(site.independent for site in drawn):
            raise ValueError(f"the family of a guide whose sites {names} depend on each other is not known")
        self.universal = len(self.fns) == 1 and isinstance(next(iter(self.fns.values())), UNIVERSAL)
        if self.universal:
            self.count, self.description = (
                2 ** next(iter(self.fns.values())).event_shape.numel() - 1,
                "any distribution",
            )
            return
        for name, fn in self.fns.items():
            try:
                exponential_family.natural(fn)
            except ValueError as error:
                raise ValueError(f"site {name!r} of the guide: {error}") from error
        self.count = sum(exponential_family.natural(fn).shape[-1] for fn in self.fns.values())
        self.description = " and ".join(sorted({exponential_family.family(fn) for fn in self.fns.values()}))

    def statistics(self, values: dict[str, Tensor]) -> Tensor:
        """Returns the statistics of all sites side by side, ``(draws, batch, statistics)``."""
        parts = [exponential_family.statistics(fn, values[name]) for name, fn in self.fns.items()]
        return torch.cat([precise(part) for part in parts], -1)

    def log_base(self, values: dict[str, Tensor]) -> Tensor:
        """Returns the log base measure of all sites together, ``(draws, batch)``, in nats."""
        if self.universal:
            return next(iter(values.values())).new_zeros(next(iter(values.values())).shape[:2])
        parts = [precise(exponential_family.log_base(fn, values[name])) for name, fn in self.fns.items()]
        return reduce(torch.add, parts)


def decoded(model: Program, x: Batch, codes: dict[str, Tensor]) -> Sites:
    """Returns the sites of a model given codes ``(codes, 1, *event)`` and one datum."""
    return run(model, (x[:1],), {}, draws=len(next(iter(codes.values()))), handler=SubstituteLatents(codes))


def log_prior(sites: Sites) -> Tensor:
    """Returns log p(z) of a run given codes, ``(codes, 1)``, in nats."""
    return precise(reduce(torch.add, map(log_prob, latents(sites).values())))


def precise(values: Tensor) -> Tensor:
    """Returns the values in float64, where the device has it."""
    return values if values.device.type == "mps" else values.double()  # mps has no float64

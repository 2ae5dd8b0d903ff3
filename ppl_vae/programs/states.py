"""Enumerated states of discrete latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions.bits import bit_states
from ppl_vae.programs.densities import largest_value
from ppl_vae.programs.handlers import FirstRow, Sites, SubstituteLatents, broadcasts_codes, latents, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite
from ppl_vae.programs.types import Program

__all__ = ["States", "obstacle"]


class States:
    """The joint states of a model's discrete latents.

    Arguments:
        sites: The model's latent sites, all of which list their values.
        model: The model.
        x: A few data.

    Raises:
        ValueError: If the largest value of a latent is not the same in all states of the others, naming its site.
    """

    def __init__(self, sites: list[GuideSite], model: Program, x: Batch) -> None:
        self.sites, self.count = sites, prod(site.states for site in sites)
        with fork_random_state():
            self.run: Sites = run(model, (x,), {}, draws=1)
        self.priors = {name: site["fn"] for name, site in latents(self.run).items()}
        self.device = next(iter(latents(self.run).values()))["value"].device
        self.x = x
        limited = [site for site in sites if largest_value(self.priors[site.name]) is not None]
        if limited and len(self.priors) > 1:
            self._check_limits(limited, model)

    def _check_limits(self, limited: list[GuideSite], model: Program) -> None:
        for start in range(0, self.count, 2**11):
            codes = self.codes(start, start + 2**11, len(self.x), shared=False)
            with fork_random_state():
                scored = run(model, (self.x,), {}, draws=len(codes[limited[0].name]), handler=SubstituteLatents(codes))
            for site in limited:
                upper, first = (largest_value(sites[site.name]["fn"]) for sites in (scored, self.run))
                if upper is None or first is None or not bool((upper == first.flatten()[0]).all()):
                    raise ValueError(
                        f"the largest value of site {site.name!r}, {site.family}, depends on other latents, so that "
                        "its states cannot be listed; sample them (--method importance, method='importance')"
                    )

    def values(self, index: Tensor) -> dict[str, Tensor]:
        """Values by site of the states numbered ``index``, ``(states, 1, *event)``; the last site varies fastest."""
        values, stride = {}, self.count
        for site in self.sites:
            fn, stride = self.priors[site.name], stride // site.states
            which = index // stride % site.states
            if site.kind == "bits":
                drawn = self.run[site.name]["value"]
                values[site.name] = bit_states(site.size, like=drawn)[which].reshape(len(index), 1, *fn.event_shape)
            else:
                values[site.name] = fn.enumerate_support(expand=False)[:, 0][which]
        return values

    def codes(self, start: int, stop: int, data: int, shared: bool) -> dict[str, Tensor]:
        """Values by site of the states from ``start`` to ``stop``, of batch size 1 if shared, else per datum."""
        values = self.values(torch.arange(start, min(stop, self.count), device=self.device))
        if shared:
            return values
        return {name: value.expand(len(value), data, *value.shape[2:]).clone() for name, value in values.items()}

    def shared(self, *scores: Callable[[Batch, Mapping[str, Tensor]], Tensor]) -> bool:
        """Whether all scores take latents of batch size 1 for all data at once."""
        if len(self.x) < 2:
            return False
        few = {name: FirstRow(fn) for name, fn in self.priors.items()}
        return all(broadcasts_codes(lambda values, score=score: score(self.x, values), few) for score in scores)  # type: ignore[misc]


def obstacle(sites: list[GuideSite], most_bits: int) -> str | None:
    """Why latents cannot be enumerated, naming the site; None if they can."""
    for site in sites:
        if site.kind not in ("bits", "states"):
            return f"site {site.name!r} is {site.family}"
    states = prod(site.states for site in sites)
    return f"the latents have {states} joint states, more than 2^{most_bits}" if states > 2**most_bits else None

"""Plates and sites of a pair: what an objective has to know before it can add log-densities up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ppl_vae.log_weight import OwnParameters, check_cover, log_prob
from ppl_vae.modes import evaluating
from ppl_vae.randomness import kept_random_state
from ppl_vae.sites import GuideSite, guide_sites

__all__ = ["Structure"]

Program = Callable[..., Any]


@dataclass(frozen=True)
class Structure:
    """How a guide draws the latents of a pair, and in which plates.

    Arguments:
        sites: Of the guide.
        plates: Dimensions to the right of the draws'.
    """

    sites: list[GuideSite]
    plates: int

    @classmethod
    def learn(
        cls, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Structure, dict[str, Any]]:
        """Reads it off a run of each, without a trace in random states, and gives the guide's sites, too.

        Raises:
            ValueError: If model and guide do not have the same latents, or a plate is a Python loop.
        """
        with evaluating(model, guide), kept_random_state(), poutine.block(), OwnParameters():
            guided = poutine.trace(guide).get_trace(*args, **kwargs)
            scored = poutine.trace(poutine.replay(model, trace=guided)).get_trace(*args, **kwargs)
        drawn, known = (
            {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and not poutine.util.site_is_subsample(s)}
            for trace in (guided, scored)
        )
        check_cover(known, drawn)
        frames = [f for of in (drawn, known) for s in of.values() for f in s["cond_indep_stack"]]
        for frame in frames:
            if not frame.vectorized:
                raise ValueError(
                    f"plate {frame.name!r} is a Python loop; write `with pyro.plate(...)` so that draws vectorise"
                )
        plates = max((-frame.dim for frame in frames), default=0)
        return cls(guide_sites(guide, args, kwargs, plates), plates), drawn

    def sum(
        self,
        sites: Mapping[str, Any],
        known: Mapping[str, Tensor] | None = None,
        betas: Mapping[str, float] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-densities of the sites in the discrete sites' plates, ``(rows, *plates)``, and of others, ``(rows,)``.

        Those that are ``known`` are not computed again; those of latents are multiplied by their betas.
        """
        own = set(next((site.frames for site in self.sites if site.discrete), ()))
        local = other = torch.zeros(())
        for site in sites.values():
            name = site["name"]
            value = known[name] if known and name in known else log_prob(site)
            if betas and betas.get(name, 1.0) != 1:
                value = betas[name] * value
            value = value.reshape(*[1] * (self.plates + 1 - value.ndim), *value.shape)
            inside = own <= {(f.name, f.dim) for f in site["cond_indep_stack"]}
            keep = {dim for _, dim in own} if inside else set()
            drop = [dim for dim in range(-self.plates, 0) if dim not in keep]
            value = value.sum(drop, keepdim=True) if drop else value
            if inside:
                local = local + value
            else:
                other = other + value
        return local, other

"""A guide that draws, or scores, for one batch again and again: run once where its parameters stay the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.programs.execution import Sites, latents
from ppl_vae.programs.handlers import Site, SubstituteLatents, run, scores
from ppl_vae.programs.random_state import fork_random_state, random_states, set_random_states
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.types import Program

__all__ = ["RepeatedGuide"]

COMPARED = 2
"""The call at which both ways are compared."""


class RepeatedGuide:
    """A guide on one batch, in evaluation mode and without gradients.

    From the third call on a guide whose latents are independent given the data is not run again: its distributions
    draw, and score, by themselves. At the second call both ways are taken, with the same random numbers; where one
    number differs, in one bit, the guide is run every time.

    Arguments:
        guide: The guide.
        x: The batch.
    """

    def __init__(self, guide: Program, x: Batch) -> None:
        self.guide, self.x = guide, x
        self._drawing, self._scoring = _Trust(), _Trust()
        self._once: Sites | None = None

    def draw(self, draws: int) -> Sites:
        """The sites of samples from the guide, as :func:`~ppl_vae.programs.handlers.run` returns them."""
        return self._drawing(lambda: run(self.guide, (self.x,), {}, draws=draws), lambda: self._drawn(draws))

    def score(self, values: Mapping[str, Tensor]) -> Sites:
        """The sites of given latents, ``(draws, batch, *event)``."""
        draws, fixed = len(next(iter(values.values()))), SubstituteLatents(values)
        return self._scoring(
            lambda: run(self.guide, (self.x,), {}, draws=draws, handler=fixed), lambda: self._drawn(draws, values)
        )

    def _drawn(self, draws: int, values: Mapping[str, Tensor] | None = None) -> Sites:
        if self._once is None:
            with fork_random_state():
                self._once = run(self.guide, (self.x,), {}, draws=1)
                known = guide_sites(self.guide, (self.x[:2],)) if len(self._once) > 1 else []
            if not all(site.independent for site in known) or len(latents(self._once)) < len(self._once):
                raise NotImplementedError
        return Sites({name: _again(site, draws, values) for name, site in self._once.items()}, self._once.indices)


def _again(site: Site, draws: int, values: Mapping[str, Tensor] | None) -> Site:
    """The site with other samples, or given values, of the same distribution."""
    fn = site["fn"].expand((draws, *site["fn"].batch_shape[1:]))
    return {**site, "fn": fn, "value": fn() if values is None else values[site["name"]]}


class _Trust:
    """Takes the short way once it has been seen to lead to the same place."""

    def __init__(self) -> None:
        self.calls, self.trusted = 0, False

    def __call__(self, run: Callable[[], Sites], short: Callable[[], Sites]) -> Sites:
        if self.trusted:
            return short()
        self.calls += 1
        before = random_states()
        sites = run()
        if self.calls == COMPARED:
            after = random_states()
            set_random_states(before)
            # Latents that depend on each other, or distributions that do not expand, end it.
            with suppress(NotImplementedError, ValueError, RuntimeError, AttributeError):
                self.trusted = _same(_numbers(short()), _numbers(sites)) and _same(random_states(), after)
            set_random_states(after)
        return sites


def _numbers(sites: Sites) -> dict[str, Tensor]:
    """The samples of each site, and their densities."""
    values = {f"{name} value": site["value"] for name, site in sites.items()}
    return values | scores(sites, "guide")


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], value) for name, value in other.items())

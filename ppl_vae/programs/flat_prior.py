"""Models whose latents are drawn from a flattened prior, which does not miss rare states and components."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

from pyro.poutine.messenger import Messenger

from ppl_vae.distributions.flattened import flattened
from ppl_vae.programs.densities import Site
from ppl_vae.programs.types import Program

__all__ = ["FlatDraws", "FlatPrior", "drawn_from"]

FLATTENED = "ppl_vae_flattened"
"""Mark of a latent that is drawn from a flattened prior: the share that is uniform, and the factor of deviations."""


class FlatPrior(partial[Any]):
    """A model with the same densities whose latents are drawn from a flattened prior.

    Arguments:
        model: The model.
        share: Share of the weights of its states and components that is uniform.
        widening: Factor of the deviation of normals that take this share; 1 leaves them as they are.
    """

    share: float
    widening: float

    def __new__(cls, model: Program, share: float, widening: float = 1.0) -> Self:
        self = super().__new__(cls, model)
        self.share, self.widening = share, widening
        return self

    def messenger(self, handler: Messenger | None) -> FlatDraws:
        """What draws the latents of the model inside."""
        return FlatDraws(self.share, self.widening, handler)


class FlatDraws(Messenger):
    """Draws latents from flattened distributions and leaves the distributions of the sites as they are.

    Arguments:
        share: As of :class:`FlatPrior`.
        widening: As of :class:`FlatPrior`.
        handler: Another messenger, which comes first: what it gives a value is not drawn.
    """

    def __init__(self, share: float, widening: float, handler: Messenger | None) -> None:
        super().__init__()
        self.share, self.widening, self.handler = share, widening, handler or Messenger()

    def _process_message(self, msg: Site) -> None:  # type: ignore[override]
        self.handler._process_message(msg)  # type: ignore[arg-type]
        if msg["type"] != "sample" or msg["is_observed"]:
            return
        other = flattened(msg["fn"], self.share, self.widening)
        if other is msg["fn"]:
            return
        msg["infer"][FLATTENED] = self.share, self.widening
        if msg["value"] is None:
            msg["value"] = other.sample()

    def _postprocess_message(self, msg: Site) -> None:  # type: ignore[override]
        self.handler._postprocess_message(msg)  # type: ignore[arg-type]


def drawn_from(site: Site) -> Site | None:
    """The site with the flattened distribution that its value is drawn from; None where that is its own."""
    how: tuple[float, float] | None = site["infer"].get(FLATTENED)
    return None if how is None else {**site, "fn": flattened(site["fn"], *how)}

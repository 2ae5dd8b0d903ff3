"""Latents that all data share, and programs in which they have fixed values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Self

from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.programs.densities import InOrder, Site
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.layouts import layout_of
from ppl_vae.programs.types import Program

__all__ = ["Shared", "shared_latents"]


class Shared(partial[Any]):
    """A program in which what all data share has fixed values, and is no site.

    Arguments:
        program: A model or guide.
        values: Values by site, of the shape they have in the program.
    """

    values: Mapping[str, Tensor]

    def __new__(cls, program: Program, values: Mapping[str, Tensor]) -> Self:
        self = super().__new__(cls, program)
        self.values = values
        return self

    def __call__(self, *args: object, **kwargs: object) -> object:
        with _Hidden(self.values):
            return super().__call__(*args, **kwargs)


class _Hidden(Messenger):
    """Gives sites their values before any messenger outside the program sees them."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Site) -> None:
        if msg["name"] in self.values:
            msg["value"], msg["done"], msg["stop"] = self.values[msg["name"]], True, True


def shared_latents(model: Program, x: Batch) -> list[str]:
    """Names of the latents that lie outside the plate over data; none if there is no such plate."""
    layout = layout_of(model, (x,), {})
    if not layout.outside or not layout.names:
        return []
    with InOrder(None):
        sites = latents(run(model, (x[:2],), {}, draws=1, training=True))
    return [name for name, site in sites.items() if "data" not in {frame.name for frame in site["cond_indep_stack"]}]

"""Programs some of whose latents have fixed values: one state of a mixture, say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Self

from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.programs.densities import Site
from ppl_vae.programs.types import Program

__all__ = ["GIVEN", "Fixed", "Given"]

GIVEN = "ppl_vae_given"
"""Mark of a latent whose value is given: its mask is that of a latent, not that of an observation."""


class Given(partial[Any]):
    r"""A program given values of some of its latents, the same for all data or one per datum.

    Of a model these sites count as observed, so that its joint density is :math:`p(x, k, w)` as a function of the other
    latents w alone. Of a guide they are left out: it draws w from :math:`q(w \mid x, k)`.

    Arguments:
        program: A model or guide.
        values: Values by site, ``(1, 1 or batch, *event)``.
        scored: Whether the sites count as observed, as those of a model do; else they are left out.
    """

    values: Mapping[str, Tensor]
    scored: bool

    def __new__(cls, program: Program, values: Mapping[str, Tensor], *, scored: bool = True) -> Self:
        self = super().__new__(cls, program)
        self.values, self.scored = values, scored
        return self

    def double(self, program: Program) -> Given:
        """The same of another program, values in double precision."""
        values = {name: v.double() if v.is_floating_point() else v for name, v in self.values.items()}
        return Given(program, values, scored=self.scored)

    def messenger(self, handler: Messenger | None) -> Fixed:
        """What gives the program inside its values."""
        return Fixed(self, handler)


class Fixed(Messenger):
    """Gives sites their fixed values; what another messenger does concerns the other sites only.

    Arguments:
        given: The program and the values.
        handler: The other messenger.
    """

    def __init__(self, given: Given, handler: Messenger | None) -> None:
        super().__init__()
        self.given, self.handler = given, handler or Messenger()

    def _process_message(self, msg: Site) -> None:  # type: ignore[override]
        if msg["type"] != "sample" or msg["name"] not in self.given.values or msg["is_observed"]:
            self.handler._process_message(msg)  # type: ignore[arg-type]
            return
        value, fn = self.given.values[msg["name"]], msg["fn"]
        msg["value"] = value.expand(*fn.batch_shape, *fn.event_shape).clone()
        msg["is_observed"] = True
        msg["infer"][GIVEN] = True
        if not self.given.scored:
            msg["infer"]["_deterministic"] = True

    def _postprocess_message(self, msg: Site) -> None:  # type: ignore[override]
        if msg["name"] not in self.given.values:
            self.handler._postprocess_message(msg)  # type: ignore[arg-type]

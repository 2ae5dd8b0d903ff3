r"""Pairs given each state of their discrete latents, for sums over these of what is measured of the others.

.. math:: p(x) = \sum_k p(x, k), \qquad p(x, k) = \int p(x, k, w)\, \mathrm{d} w
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.programs.given import Given
from ppl_vae.programs.sites import GuideSite
from ppl_vae.programs.states import States, obstacle
from ppl_vae.programs.types import Program

__all__ = ["discrete", "each_state", "given", "mixed_obstacle"]


def discrete(sites: list[GuideSite]) -> list[GuideSite]:
    """The sites whose states can be listed."""
    return [site for site in sites if site.kind in ("bits", "states")]


def mixed_obstacle(sites: list[GuideSite], most_bits: int) -> str | None:
    """Why latents are no mixture of a few discrete states and something else; None if they are."""
    listed = discrete(sites)
    if not listed:
        return f"site {sites[0].name!r} is {sites[0].family}, and none is discrete"
    if len(listed) == len(sites):
        return f"site {sites[0].name!r} is {sites[0].family}, and none is continuous"
    return obstacle(listed, most_bits)


def each_state(sites: list[GuideSite], model: Program, x: Batch) -> Iterator[dict[str, Tensor]]:
    """Values of the given discrete sites by name, ``(1, 1, *event)``, one joint state after the other."""
    states = States(sites, model, x[:3])
    for index in range(states.count):
        yield states.values(torch.tensor([index], device=states.device))


def given(model: Program, guide: Program, values: Mapping[str, Tensor]) -> tuple[Given, Given]:
    """The pair given values: the model scores them, the guide does not draw them."""
    return Given(model, values), Given(guide, values, scored=False)

"""Statements whose tensors a program changes in place afterwards, so that Pyro scores others than it wrote."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.distributions.wrappers import chain
from ppl_vae.programs.arguments import ChangedDataError
from ppl_vae.programs.densities import Site

__all__ = ["AsWritten"]


class AsWritten(Messenger):
    """Keeps copies of the tensors of each statement: Pyro scores a site when the program has ended, as they are then.

    A mask that grows over the steps of a sequence by ``seen |= new`` is that of the last step at all of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: list[tuple[str, str, Tensor, Tensor]] = []

    def _pyro_post_sample(self, msg: Site) -> None:
        if not poutine.util.site_is_subsample(msg):
            self._made += [(msg["name"], what, tensor, tensor.clone()) for what, tensor in _tensors(msg)]

    def check(self) -> None:
        """Raises the error of the first tensor that is another now.

        Raises:
            ChangedDataError: Naming its site and what it is of it.
        """
        for name, what, tensor, copy in self._made:
            if not torch.equal(tensor, copy) and not bool(((tensor == copy) | (tensor.isnan() & copy.isnan())).all()):
                raise ChangedDataError(
                    f"the {what} of site {name!r} is changed in place after its statement (as by m |= new, m[...] = 0 "
                    "and m.add_(1)), so that the site is scored by what it is at the end; make a new tensor, such as "
                    "m = m | new"
                )


def _tensors(msg: Site) -> Iterator[tuple[str, Tensor]]:
    """The tensors that the density of a site comes from, with what they are."""
    of_fn = [each for part in chain(msg["fn"]) for each in vars(part).items()]
    parts = [("mask", msg["mask"]), ("value", msg["value"])]
    parts += [("mask" if key == "_mask" else f"parameter {key}", value) for key, value in of_fn]
    for what, value in parts:
        if isinstance(value, Tensor):
            yield what, value.detach()

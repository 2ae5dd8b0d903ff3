"""Model and guide with their arguments, run at given latents, which may be bits between 0 and 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.distributions import state_tables
from ppl_vae.nn.modes import evaluation_mode, frozen
from ppl_vae.objectives.rate_distortion import Betas
from ppl_vae.programs.handlers import Sites, SubstituteLatents, run
from ppl_vae.programs.sites import PairSites
from ppl_vae.programs.types import Program
from ppl_vae.programs.unobserved import with_masks_of

__all__ = ["PairRuns"]


@dataclass(frozen=True)
class PairRuns:
    """A model and a guide with their arguments, to be run at given latents.

    Arguments:
        model: A Pyro program.
        guide: A Pyro program.
        args: Positional arguments of both.
        kwargs: Keyword arguments of both.
        structure: Sites and plates of the pair.
        masks: Masks of the model's latents that hold for the guide's, too; known from the first run of the model.
    """

    model: Program
    guide: Program
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    structure: PairSites
    masks: dict[str, Any] = field(default_factory=dict)

    def run_model(self, values: Mapping[str, Tensor], draws: int) -> Sites:
        """Sites of the model with these latents."""
        sites = self._run(self.model, SubstituteLatents(values), draws)
        self.masks.update(with_masks_of(sites, values))
        return sites

    def run_guide(self, handler: Messenger, draws: int) -> Sites:
        """Sites of the guide, whose latents a handler may give."""
        return self.masked(self._run(self.guide, handler, draws))

    def masked(self, sites: Sites) -> Sites:
        """Sites of the guide with the masks of the model, as far as they are known."""
        if not self.masks:
            return sites
        return Sites({n: s | {"mask": self.masks.get(n, s["mask"])} for n, s in sites.items()}, sites.indices)

    def _run(self, program: Program, handler: Messenger, draws: int) -> Sites:
        plates = None if self.structure.canonical else self.structure.plates
        return run(program, self.args, self.kwargs, draws=draws, plates=plates, handler=handler, training=True)

    @contextmanager
    def between_bits(self) -> Iterator[None]:
        """Where the pair is run at bits between 0 and 1: in evaluation mode, its parameters without gradients."""
        quietly = pyro.validation_enabled(False)
        with quietly, torch.enable_grad(), frozen(self.model), evaluation_mode(self.model, self.guide):
            yield

    def slopes_between(
        self,
        values: Mapping[str, Tensor],
        relaxed: Mapping[str, Tensor],
        draws: int,
        betas: Betas,
        who: str,
        instead: str,
        further: Sequence[Tensor] = (),
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, ...]]:
        """log p(x, z) in the plates of the bits, and outside, and the gradient of their sum for relaxed sites.

        Arguments:
            values: Of all latents.
            relaxed: Those of discrete sites, which require a gradient.
            draws: Number of rows.
            betas: Weights of the latents' log-densities by site.
            who: What asks for it, as errors say.
            instead: What to do where the model refuses.
            further: Terms that are added before the gradient is taken.

        Raises:
            ValueError: If the model refuses values between its states.
        """
        try:
            scored = self.run_model(values, draws)
            linear = {n: state_tables.relaxed_log_prob(site) for n, site in scored.items() if n in relaxed}
            known = {n: value for n, value in linear.items() if value is not None}
            joint = self.structure.sum(scored, known, betas)
            total = reduce(torch.add, [part.sum() for part in (*further, *joint) if part.ndim])
            return joint, torch.autograd.grad(total, list(relaxed.values()), materialize_grads=True)
        except (ValueError, RuntimeError, IndexError, TypeError) as error:
            raise ValueError(
                f"{who} evaluates the model at bits between 0 and 1 (sites {list(relaxed)}), which it refuses: "
                f"{error}; {instead}"
            ) from error

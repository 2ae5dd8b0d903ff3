"""A guide refined for each of certain data, which takes its place wherever these are measured."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ppl_vae.data.fingerprints import fingerprints
from ppl_vae.data.inputs import Batch, as_batch
from ppl_vae.diagnostics.gap.refinement import refined_parts
from ppl_vae.estimators import Estimator
from ppl_vae.programs.arguments import argument_names
from ppl_vae.programs.types import Program, Progress

__all__ = ["RefinedGuide"]


class RefinedGuide(nn.Module):
    """A guide whose output was refined for each of some data, by :func:`~ppl_vae.diagnostics.gap.refinement.refine`.

    It is a guide of these data, in any order and in batches of any size, and can be measured, compared and asked for
    codes like any other.

    Arguments:
        model: The generative model.
        guide: Its guide, of a family whose members are known.
        x: The data.
        steps: Number of steps of gradient ascent for each datum.
        draws: Number of draws per datum by which the refined parameters are compared with the guide's own.
        estimator: Gradient estimator for discrete sites; replaced where it does not fit.
        progress: Called with the number of (datum, step) cells completed since the last call.

    Raises:
        ValueError: If a site's family is not known, naming it, or there is no step; where it is called, if a datum is
            none of those it was refined for.

    Example:
        >>> import ppl_vae as pv
        >>> import pyro
        >>> from pyro.distributions import Normal
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", Normal(0.0, 1.0))
        ...         pyro.sample("x", Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", Normal(torch.zeros(len(x)), 1.0))
        >>> x = torch.tensor([-2.0, 0.0, 3.0])
        >>> refined = RefinedGuide(model, guide, x, steps=300)
        >>> bool(pv.measure(model, refined, x[1:]).gap.mean < pv.measure(model, guide, x[1:]).gap.mean / 50)
        True
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        x: Batch,
        steps: int,
        *,
        draws: int = 200,
        estimator: Estimator | str = "auto",
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        blocks = refined_parts(model, guide, x, steps, draws=draws, estimator=estimator, progress=progress)
        families, _, parts = zip(*blocks, strict=True)
        self.family = families[0]
        self._names = argument_names(guide)
        known = fingerprints(x, self._names)
        order = np.argsort(known, kind="stable")
        self._known = known[order]
        self.free: Tensor
        self.register_buffer("free", torch.cat(parts)[torch.from_numpy(order).to(parts[0].device)])

    def forward(self, *args: object, **kwargs: object) -> None:
        wanted = fingerprints(as_batch(*args, **kwargs), self._names)
        rows = np.searchsorted(self._known, wanted).clip(max=len(self._known) - 1)
        missing = np.flatnonzero(self._known[rows] != wanted)
        if len(missing):
            raise ValueError(
                f"the guide was refined for {len(self._known)} data, and datum {missing[0]} of this batch is none of "
                "them; refine it for these data, too"
            )
        self.family.program(self.free[torch.from_numpy(rows).to(self.free.device)])(*args, **kwargs)

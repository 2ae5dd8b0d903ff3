"""Proposals that do not miss rare states and mixture components of the prior."""

from __future__ import annotations

import torch

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions.flattened import rare_parts
from ppl_vae.programs.flat_prior import FlatPrior
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program

__all__ = ["with_flat_prior"]

PROBED = 64
"""Data whose priors are looked at."""


def with_flat_prior(model: Program, x: Batch, share: float) -> Program:
    """Returns the model with latents drawn from a flattened prior where it has rare states or components, else itself.

    With N rare elements in a datum's latents each distribution is flattened by an N-th of the share, so that few of
    them are drawn together.

    Arguments:
        model: The model.
        x: A batch.
        share: Share of the weights that is uniform where one element is rare. Up to a half, no event has less than
            half of the probability that the prior gives it.
    """
    with fork_random_state(), torch.no_grad():
        rare = sum(rare_parts(site["fn"]) for site in latents(run(model, (x[:PROBED],), {}, draws=1)).values())
    return FlatPrior(model, share / max(1.0, rare)) if rare else model

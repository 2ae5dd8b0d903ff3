"""Proposals that do not miss rare states and mixture components of the prior."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions.flattened import normal_numbers, rare_parts
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import log_mean_exp
from ppl_vae.evidence.leave_one_out import leave_one_out
from ppl_vae.programs.blocks import rows_at_once
from ppl_vae.programs.flat_prior import FlatPrior
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.log_weight import log_parts
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program

__all__ = ["far_out", "with_flat_prior"]

FAR = 3.0
"""Factor of the deviation of normals that are looked at far out."""

LOOKS = 2**10
"""Draws per datum from the wide prior."""

MOST = 32
"""Most numbers and rare parts of a datum for which a look far out may find anything."""

PROBED = 64
"""Data whose priors are looked at."""


def with_flat_prior(model: Program, x: Batch, share: float) -> Program:
    """Returns the model with latents drawn from a flattened prior where it has rare states or components, else itself.

    With N elements of a datum's latents that have rare states or components, each of them is flattened by an N-th of
    the share, so that few rare ones are drawn together. A model with a flattened prior is returned as it is.

    Arguments:
        model: The model.
        x: A batch.
        share: Share of the weights that is uniform where one element is rare. Up to a half, no event has less than
            half of the probability that the prior gives it.
    """
    if isinstance(model, FlatPrior):
        return model
    rare = sum(map(rare_parts, _priors(model, x)))
    return FlatPrior(model, share / max(1.0, rare)) if rare else model


def far_out(model: Program, x: Batch) -> Estimate | None:
    r"""A lower bound on log p(x) by importance weights of a prior that is flattened and wide; None for many latents.

    Each normal number is drawn with three times its standard deviation in a share of the draws, and each rare state or
    component more often, so that a part of the posterior far out, to which no slope leads, is met. It is poor in many
    dimensions, but one that is higher than another bound shows that the other misses a part.

    Arguments:
        model: The model.
        x: All data.
    """
    count = sum(rare_parts(fn) + normal_numbers(fn) for fn in _priors(model, x))
    if not 0 < count <= MOST:
        return None
    wide, step = FlatPrior(model, 1 / (1 + count), FAR), max(1, rows_at_once(x) // LOOKS)
    parts = []
    for start in range(0, len(x), step):
        part = x[start : start + step]
        with torch.no_grad():
            sites = latents(run(wide, (part,), {}, draws=LOOKS))
            weights, _ = log_parts(wide, part, {name: site["value"] for name, site in sites.items()})
        precise = torch.float32 if weights.device.type == "mps" else torch.float64
        parts.append(weights.to(precise).expand(LOOKS, len(part)).nan_to_num(-torch.inf, -torch.inf, -torch.inf))
    weights = torch.cat(parts, 1)
    value, se = log_mean_exp(weights)
    method = f"importance, {LOOKS} draws of a wide prior"
    return Estimate(value, method, "lower", LOOKS, se, upper=leave_one_out(weights))


def _priors(model: Program, x: Batch) -> list[TorchDistribution]:
    """Distributions of the latents of some data at one draw, the same at each look."""
    with fork_random_state(0), torch.no_grad():
        return [site["fn"] for site in latents(run(model, (x[:PROBED],), {}, draws=1)).values()]

"""How far a method falls short of log p(x), measured on data whose posterior is known: those the model generates."""

from __future__ import annotations

from dataclasses import replace

import torch

from ppl_vae.data.inputs import Batch, data_width
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.psis import k_hat_limit
from ppl_vae.evidence.results import Evidence
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.random_state import fork_random_state, subsample
from ppl_vae.programs.simulate import simulate
from ppl_vae.programs.types import Program

__all__ = ["SHARE", "SIZE", "calibrated", "measure_shortfall"]

SIZE = 20
"""Number of simulated data."""

FEW = 2**20
"""Numbers (samples, times those of a datum) that a sampling method is calibrated with in next to no time."""

SHARE = 0.1
"""Share of the gap beyond which the shortfall of a method is a warning."""

LEAST = 0.01
"""Shortfall that is never a warning, in nats per datum."""

MOST = 0.5
"""Shortfall that is always a warning, in nats per datum: a small part of a gap of hundreds of nats may be as much."""


def measure_shortfall(
    method: EvidenceMethod, model: Program, guide: Program, x: Batch, size: int = SIZE, seed: int = 0
) -> Shortfall | str:
    """The shortfall of a method on data simulated in the shape of some of ``x``, or why it cannot be measured.

    Arguments:
        method: A method, with the options it measures with.
        model: The model.
        guide: Its guide.
        x: Data whose shapes, and inputs that are not observed, the simulated data have.
        size: Number of simulated data.
        seed: Seed of the simulated data and of the samples.
    """
    rows = torch.arange(size) % len(x) if len(x) < size else subsample(len(x), size)
    shape = x if rows is None else x[rows]
    with fork_random_state(seed), evaluating(model, guide):
        try:
            latents, data = simulate(model, shape)
            shortfall = method.shortfall(model, guide, data, latents)
        except Exception as error:
            # A model need not generate its data, nor a guide score others' samples: what was measured stands without.
            return str(error) or type(error).__name__
    if shortfall is None:
        return f"{method.title} has no upper bound on simulated data"
    return shortfall if shortfall.pointwise.isfinite().all() else "a simulated datum has a bound that is not finite"


def calibrated(
    method: EvidenceMethod, model: Program, guide: Program, x: Batch, evidence: Evidence, check: bool | None
) -> Evidence:
    """An evidence with the shortfall of its method, and a warning if that exceeds a share of the gap or :data:`MOST`.

    Arguments:
        method: The method that measured it.
        model: The model.
        guide: Its guide.
        x: The data.
        evidence: Their evidence.
        check: Whether to calibrate; None where that costs at most as much as the measurement, or next to nothing.

    Raises:
        ValueError: If calibration is asked for and impossible, saying why.
    """
    wanted = _is_cheap(method, x) if check is None else check
    if not wanted or evidence.evidence.bound == "exact":
        return evidence
    shortfall = measure_shortfall(method, model, guide, x)
    if isinstance(shortfall, str):
        if check:
            raise ValueError(f"the method cannot be checked on simulated data: {shortfall}; leave the check out")
        return replace(evidence, why=f"{evidence.why}; not checked on simulated data: {shortfall.split(';')[0]}")
    gap, missed = evidence.gap.mean, shortfall.mean
    if missed <= min(max(SHARE * gap, LEAST), MOST):
        # Tails as heavy as those of the simulated data do no harm there, nor here if the data are like those.
        unlike = shortfall.unlike(evidence.evidence.pointwise)
        tolerated = 0.0 if unlike else shortfall.share_high(k_hat_limit(evidence.evidence.draws))
        return replace(evidence, evidence=replace(evidence.evidence, shortfall=shortfall, tolerated=tolerated))
    share = f", {missed / gap:.0%} of the gap" if gap > missed else ""
    noted = evidence.noting(
        f"on {len(shortfall.pointwise)} data simulated from the model this method misses {shortfall} nats of the "
        f"evidence{share}: {method.remedy}"
    )
    return replace(noted, evidence=replace(noted.evidence, shortfall=shortfall))


def _is_cheap(method: EvidenceMethod, x: Batch) -> bool:
    """Whether to calibrate costs at most about as much as to measure these data, or next to nothing."""
    simulated = SIZE * method.bounds_of_check
    return len(x) >= simulated or (method.is_quick and simulated * method.draws * data_width(x) <= FEW)

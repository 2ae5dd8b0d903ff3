"""Objectives of training, as ``pyro.infer.ELBO``: the ELBO, rate costs, importance-weighted bounds, wake-sleep."""

from __future__ import annotations

from ppl_vae.objectives.base import NonFiniteError, Objective
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.objectives.sleep_phase import SleepPhase
from ppl_vae.objectives.wake_sleep import WakeSleep

__all__ = [
    "DiscreteELBO",
    "ImportanceWeightedELBO",
    "NonFiniteError",
    "Objective",
    "RateCost",
    "SleepPhase",
    "WakeSleep",
]

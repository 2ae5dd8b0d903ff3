"""A training that has ended, as the checks of its numbers read it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.images.scale_collapse import Sharpness
from ppl_vae.diagnostics.information.active_units import Units
from ppl_vae.distributions import exponential_family
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import guide_sites
from ppl_vae.runs.split import Split
from ppl_vae.training.settings import Settings

__all__ = ["Trained"]


@dataclass(frozen=True)
class Trained:
    """A training that has ended, and its measurements.

    Arguments:
        model: The model, in its best state.
        settings: Settings of the training.
        metric: The validation metric that chose the epoch; empty if none did.
        best_epoch: The chosen epoch.
        rows: Metrics by epoch.
        train: The training data.
        validation: Number of validation data.
        scale: The noise scale of a Gaussian model; None of others.
        data: The data measured, by split.
        splits: Their measurements.
        units: Their units of the code.
    """

    model: nn.Module
    settings: Settings
    metric: str
    best_epoch: int
    rows: Sequence[Mapping[str, Any]]
    train: Batch
    validation: int
    scale: Sharpness | None
    data: Mapping[str, Batch]
    splits: Mapping[str, Split]
    units: Mapping[str, Units]

    @property
    def unseen(self) -> str:
        """The split whose data training saw least of."""
        return next(name for name in ("test", "validation", "train") if name in self.splits)

    @cached_property
    def log_codes(self) -> float | None:
        """The logarithm of the number of codes, all of one probability under the prior; None of others."""
        x = self.train[:2]
        sites = guide_sites(self.model, (x,))
        if any(site.kind not in ("bits", "states") for site in sites):
            return None
        with fork_random_state(), torch.no_grad():
            priors = [site["fn"] for site in latents(run(self.model, (x,), {}, draws=1)).values()]
        for fn in priors:
            bits = exponential_family.bit_logits(fn)
            logits = getattr(exponential_family.base(fn), "logits", None) if bits is None else bits
            if logits is None or (logits if bits is not None else logits - logits[..., :1]).abs().max() > 1e-3:
                return None
        return math.fsum(math.log(site.states) for site in sites)

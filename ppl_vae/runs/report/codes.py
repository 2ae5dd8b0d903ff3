"""The code of each datum as the guide gives it: posterior means of the units."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.information.active_units import as_numbers, beside, independent_kl
from ppl_vae.diagnostics.information.rates import probe
from ppl_vae.programs.blocks import rows_at_once
from ppl_vae.programs.handlers import run as run_program
from ppl_vae.programs.prepared import prepared
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.runs.open import Run
from ppl_vae.runs.report.subject import Subject

__all__ = ["posterior_means", "unit_means"]

DRAWS = 32
"""Draws over which a mean without a closed form is taken."""


def posterior_means(run: Run, x: Batch) -> Tensor:
    """Posterior mean of each unit of each datum, ``(data, units, states)``: one state but for categoricals.

    Raises:
        ValueError: If the guide does not draw the model's latents, or draws what was not observed, or if a latent
            counts for some data only.
    """
    with prepared(run.model, run.guide, x), fork_random_state(run.config.settings.seed):
        known, parts = probe(run.model, run.guide, x), []
        for start in range(0, len(x), block := max(1, rows_at_once(x) // (1 if known.closed else DRAWS))):
            part = x[start : start + block]
            if known.closed:
                parts.append(independent_kl(run.model, run.guide, part)[1])
                continue
            sites = run_program(run.guide, (part,), {}, draws=DRAWS)
            numbers = beside([as_numbers(fn, sites[name]["value"]) for name, fn in known.priors.items()])
            parts.append(numbers.float().mean(0))
    return torch.cat(parts).detach().cpu()


def unit_means(subject: Subject) -> list[list[float]] | None:
    """Mean of each unit over the data of the split; None where it cannot be computed."""
    try:
        means = posterior_means(subject.run, subject.data[:2_000])
    except ValueError:
        return None
    return means.double().mean(0).tolist()

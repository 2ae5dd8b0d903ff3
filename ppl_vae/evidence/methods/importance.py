"""Evidence by importance sampling from the guide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.defensive import check_share, defensive_importance, defensive_shortfall
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.rare_parts import with_flat_prior
from ppl_vae.evidence.results import Evidence
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.evidence.upper import MOST_CONSTANT
from ppl_vae.programs.blocks import rows_at_once
from ppl_vae.programs.log_weight import prior_terms
from ppl_vae.programs.repeated import RepeatedGuide
from ppl_vae.programs.sites import GuideSite
from ppl_vae.programs.types import Program, Progress

__all__ = ["Importance", "constant_rows", "covered", "whose_weights"]


@dataclass(frozen=True)
class Importance(EvidenceMethod):
    r"""A lower bound for any pair: the log of the mean weight of samples from the guide.

    .. math:: \log p(x) \approx \log \frac1S \sum_{s=1}^S \frac{p(x, z_s)}{q(z_s \mid x)}, \qquad z_s \sim q(z \mid x)

    is a lower bound in expectation (Burda, Grosse and Salakhutdinov 2016, eq. 8). Constant weights make it exact if the
    guide covers the posterior, which samples cannot prove: it stays a lower bound, with a note.

    A tenth as many samples of the prior are added, and all weights are those of the mixture of both: what the guide
    leaves out is then found where the prior has mass.

    Arguments:
        draws: Samples of the guide per datum.
        prior_share: Samples of the prior per sample of the guide; 0 for none.
    """

    exact: ClassVar[bool] = False
    priority: ClassVar[int] = 10
    fewest_draws: ClassVar[int] = 2
    is_quick: ClassVar[bool] = True
    remedy: ClassVar[str] = (
        "the guide leaves out a part of the posterior; anneal (--method annealing, method='annealing'; of a gap "
        "--evidence annealing), or raise the draws (--draws, draws=)"
    )
    smooth: ClassVar[bool] = False
    """Whether the largest weights are Pareto-smoothed."""

    prior_share: float = 0.1

    def __post_init__(self) -> None:
        check_share(self.prior_share)

    def measure(self, model: Program, guide: Program, x: Batch, sites: list[GuideSite], progress: Progress) -> Evidence:
        return defensive_importance(model, guide, x, self.draws, self.prior_share, progress, smooth=self.smooth)

    def shortfall(self, model: Program, guide: Program, x: Batch, posterior: Mapping[str, Tensor]) -> Shortfall:
        return defensive_shortfall(model, guide, x, posterior, self.draws, self.prior_share, self.smooth)

    def conclude(self, model: Program, guide: Program, x: Batch, evidence: Evidence) -> Evidence:
        rows = constant_rows(evidence)
        if not len(rows):
            return evidence
        whose, flat = whose_weights(rows, x), with_flat_prior(model, x, 0.5)
        if not _constant_elsewhere(flat, guide, x[rows] if len(rows) < len(x) else x, evidence.elbo.pointwise[rows]):
            return evidence.noting(
                f"{whose} are constant where the guide draws, but not elsewhere: the guide leaves out a part of "
                "the posterior, and the evidence is probably higher than this"
            )
        # Of the flattened prior half of the samples find a part of the prior as surely.
        return evidence.noting(covered(whose, self.draws, PRIOR_DRAWS if flat is model else PRIOR_DRAWS // 2))


PRIOR_DRAWS = 256
"""Samples from the prior at which constant log-weights are checked."""


def constant_rows(evidence: Evidence) -> Tensor:
    """Positions of data whose log-weights are constant over different draws; none where few data have such."""
    shape = evidence.evidence.k_hat
    rows = torch.empty(0, dtype=torch.long) if shape is None else shape.isneginf().nonzero()[:, 0]
    return rows if len(rows) > MOST_CONSTANT * len(evidence.evidence.pointwise) else rows[:0]


def whose_weights(rows: Tensor, x: Batch) -> str:
    """The log-weights of the data at these positions, in words."""
    return f"the log-weights of {len(rows)} of {len(x)} data" if len(rows) < len(x) else "the log-weights"


def covered(whose: str, draws: int, priors: int) -> str:
    """What constant log-weights over samples of guide and prior leave open, and with what confidence."""
    part = f"a part with under {1 - 0.05 ** (1 / priors):.1%} of the prior's mass" if priors else "any part"
    return (
        f"{whose} are constant over {draws} draws of the guide and {priors} of the prior: exact "
        f"if the guide covers the posterior; {part} may have been missed "
        "(95% confidence), with any share of the evidence; annealing from the prior searches for it "
        "(--method annealing --start prior, method='annealing', start='prior'; of a gap --evidence annealing)"
    )


def _constant_elsewhere(model: Program, guide: Program, x: Batch, value: Tensor) -> bool:
    """Whether samples from the prior, too, have the constant log-weights that those of the guide have."""
    most = 64
    for start in range(0, len(x), most):
        part, expected = x[start : start + most], value[start : start + most]
        step, score = max(1, min(PRIOR_DRAWS, rows_at_once(x) // most)), RepeatedGuide(guide, part).score
        for done in range(0, PRIOR_DRAWS, step):
            # Without what latents have where they do not count.
            weights = prior_terms(model, score, part, min(step, PRIOR_DRAWS - done)).weight
            if not bool(((weights - expected).abs() <= 1e-4 * (1 + expected.abs())).all()):
                return False
    return True

"""What a guide cannot be tight for, whatever its family, because it does not read it: the length of a document."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.tightness.sufficient_statistics import precise
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.programs.log_weight import log_joint, log_proposal
from ppl_vae.programs.states import States
from ppl_vae.programs.types import Program

__all__ = ["lost_to_length"]

Scorer = Callable[[Program, Batch, Mapping[str, Tensor]], Tensor]

MOST = 200
"""Most documents that are written twice."""

VARIES = 1e-4
"""Difference of probabilities between documents below which a guide may have learned nothing yet."""

SAME = 1e-2
"""Share of this difference by which a document and its double may differ by rounding."""

CODES = 2**11
"""Largest number of states scored at once."""


def lost_to_length(model: Program, guide: Program, x: PackedCounts, states: States) -> Estimate | None:
    r"""What a guide that reads frequencies loses of a document x and the same document written twice, xx.

    .. math:: \min_q \tfrac12 \bigl[\mathrm{KL}(q \,\|\, p(z \mid x)) + \mathrm{KL}(q \,\|\, p(z \mid xx))\bigr]
        = -\log \sum_z \sqrt{p(z \mid x)\, p(z \mid xx)}

    over all distributions q: the two documents have the same frequencies, so that such a guide gives them the same
    latents, and loses at least this on average over the two, whatever its family and its network (Schlesinger,
    Shekhovtsov and Flach 2021, example 3, where it is zero at collapse only).

    Arguments:
        model: The model.
        guide: Its guide.
        x: The documents, of which 200 at most are taken.
        states: The joint states of the latents.

    Returns:
        The loss of each document in nats, exact; None where the guide tells the two apart, or no documents at all.
    """
    x = x[torch.linspace(0, len(x) - 1, min(len(x), MOST)).round().long()]
    twice = PackedCounts(x.offsets, x.words, 2 * x.counts, x.vocabulary, check=False)
    once, doubled = (_log_probabilities(guide, part, states, log_proposal).exp() for part in (x, twice))
    varies = (once - once.mean(0)).abs().max()
    if varies < VARIES or (once - doubled).abs().max() > SAME * varies:
        return None
    one, two = (_log_probabilities(model, part, states, log_joint) for part in (x, twice))
    root = (one + two) / 2
    return Estimate((-root.logsumexp(1)).clamp(min=0), "a document and the same written twice", "exact")


def _log_probabilities(program: Program, x: PackedCounts, states: States, score: Scorer) -> Tensor:
    """Normalised log-probabilities of the states for each document, ``(data, states)``."""
    parts = [
        score(program, x, states.codes(start, start + CODES, len(x), shared=False))
        for start in range(0, states.count, CODES)
    ]
    return precise(torch.cat(parts)).T.log_softmax(1)

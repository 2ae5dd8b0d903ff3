"""Upper bounds on log p(x) of real data, and when they can be believed."""

from __future__ import annotations

import math
from dataclasses import replace

from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.psis import k_hat, k_hat_limit, tail_size

__all__ = ["above", "distrust_simulated", "distrust_weights"]

APART = 10.0
"""Distance between the bounds, in nats per datum, beyond which one of them is a guess."""

HEAVY = 0.7
"""Pareto shape beyond which a mean over samples cannot be trusted (Vehtari et al. 2024)."""

CONSTANT = 0.01
"""Distance between the bounds, in nats per datum, below which weights are all but constant."""

EQUAL = 1e-4
"""Relative deviation of weights that rounding in single precision makes, per nat of their logarithm."""

MOST_CONSTANT = 0.1
"""Largest share of data with constant weights: of them a part of the posterior may be missing without a trace."""

FEWEST_SIMULATED = 5
"""Fewest simulated data from which a limit is drawn."""

FEWEST_DATA = 25
"""Fewest data whose errors show by their own tail whether a few carry all."""


def distrust_weights(evidence: Estimate) -> str:
    """Why leave-one-out weights give no valid upper bound on log p(x); empty if they do."""
    if reason := _not_unbiased(evidence):
        return reason
    if evidence.upper is None:
        return "there are not several independent estimates of each datum"
    if reason := _constant_weights(evidence):
        return reason
    shortfall, near = evidence.shortfall, evidence.upper.mean - evidence.mean < CONSTANT
    if near and shortfall is not None and shortfall.unlike(evidence.pointwise):
        return "weights that hardly differ, of data unlike those of the model, show nothing of what was not drawn"
    return _heavy_tails(evidence) or _apart(evidence)


def _apart(evidence: Estimate) -> str:
    """Why bounds that lie far apart tell nothing; empty where they do not."""
    if evidence.upper is None or evidence.upper.mean - evidence.mean <= APART:
        return ""
    return f"the bounds by its weights lie over {APART:g} nats per datum apart"


def _constant_weights(evidence: Estimate) -> str:
    """Why equal weights of single data show nothing of what was not drawn; empty where few data have them.

    A part of mass p is missed by n draws with probability (1 - p)^n, and leaves no trace in weights that are all the
    same: it may hold any share of the evidence.
    """
    if evidence.k_hat is None:
        return ""
    constant = evidence.k_hat.isneginf()
    if evidence.pointwise_se is not None:
        # Those that differ by rounding alone have no tail, but no equal values either.
        spread = evidence.pointwise_se * math.sqrt(evidence.draws)
        constant |= spread <= (EQUAL * (1 + evidence.pointwise.abs())).clamp(max=CONSTANT)
    share = constant.double().mean().item()
    if share <= MOST_CONSTANT:
        return ""
    whose = "" if share == 1 else f", which {share:.0%} of the data have,"
    seen = ""
    if evidence.draws:
        mass = 1 - 0.05 ** (1 / evidence.draws)
        seen = f": {evidence.draws} draws miss a part with {mass:.1%} of their mass with a probability of 5%"
    return f"constant weights{whose} show nothing of what was not drawn{seen}"


def _heavy_tails(evidence: Estimate) -> str:
    """Why a few samples or data carry the evidence; empty if they do not."""
    upper, shapes = evidence.upper, evidence.k_hat
    if upper is None or upper.pointwise_se is None:
        return ""
    if single := int((~upper.pointwise.isfinite()).sum()):
        return f"a single sample carries the evidence of {single} data"
    if shapes is not None:
        known = shapes[shapes > -math.inf]
        # The error of a shape is about (1 + k) / sqrt(size of its tail); the tail is that of Pareto smoothing.
        tail = max(1.0, tail_size(evidence.draws) * len(known))
        if len(known) and (average := known.mean().item()) + max(0.0, 1 + average) / math.sqrt(tail) > HEAVY:
            return f"the k-hat of the weights, {average:.2f} on average, is not below {HEAVY} by more than its error"
    if len(upper.pointwise) >= FEWEST_DATA:
        shape = k_hat(upper.pointwise_se.clamp(min=1e-300).log()[:, None]).item()
        if shape > HEAVY:
            return f"a few data carry all of its error (k-hat {shape:.2f}, over {HEAVY})"
    return ""


def distrust_simulated(evidence: Estimate) -> str:
    """Why what is missed of simulated data says nothing of these; empty if it does."""
    shortfall, limit = evidence.shortfall, k_hat_limit(evidence.draws)
    if reason := _not_unbiased(evidence) or _heavy_tails(evidence):
        return reason
    if not _constant_weights(evidence) and (reason := _apart(evidence)):
        return reason  # a few samples that weigh all may be the first of others
    if shortfall is None:
        return "not measured"
    if len(shortfall.pointwise) < FEWEST_SIMULATED:
        return f"{len(shortfall.pointwise)} simulated data are too few"
    if reason := shortfall.unlike(evidence.pointwise):
        return reason
    if shortfall.pointwise.median() < CONSTANT and (reason := _constant_weights(evidence)):
        return reason  # a part that is missed of few simulated data, or of none, may be missing here
    if evidence.k_hat is not None and shortfall.k_hat is not None:
        share, expected = (evidence.k_hat > limit).double().mean().item(), shortfall.share_high(limit)
        if share > expected:
            return f"{share:.0%} of the data have a k-hat over {limit:.2f}, of simulated data at most {expected:.0%}"
    return ""


def _not_unbiased(evidence: Estimate) -> str:
    if evidence.common_se:
        return "it has an error common to all data"
    if evidence.bound != "lower" and evidence.lower is None:
        return "the number is neither a bound nor unbiased"
    return "" if math.isfinite(evidence.mean) else "some data have no finite evidence"


def above(evidence: Estimate) -> Estimate | None:
    """A number per datum that is at least log p(x) in expectation, as far as is known; None where nothing is.

    The upper bound of leave-one-out weights; raised, on average, to that of simulated data where that is higher.
    """
    raised = None if distrust_weights(evidence) else evidence.upper
    shortfall = evidence.shortfall
    if shortfall is None or distrust_simulated(evidence):
        return raised
    simulated = evidence.mean + max(shortfall.mean, 0.0)
    if raised is not None and raised.mean >= simulated:
        return raised
    raised = raised or replace(evidence, bound="upper", upper=None, shortfall=None)
    return replace(raised, pointwise=raised.pointwise + (simulated - raised.mean), common_se=shortfall.se)

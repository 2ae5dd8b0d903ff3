r"""Annealing from the guide and from the prior: the estimates of both, and the choice among them.

Chains that start from the guide may never reach a mode that it leaves out; chains that start from the prior may need
more temperatures. With weights :math:`\hat p^{g}_i` and :math:`\hat p^{p}_i` of datum i, both unbiased for
:math:`p(x_i)`, there are three unbiased estimates: either, and the mean :math:`\hat p^{b}_i` over all chains, which is
within log 2 of the better one for every datum by itself. The three compete by their mean over all data,

.. math:: \max_{s \in \{b, g, p\}} \frac1n \sum_i \log \hat p^{s}_i ,

never datum by datum, since the larger of two noisy values of every datum is too high on average. The products
:math:`\prod_i \hat p^{s}_i / p(x_i)` have mean one, so that their maximum has at most mean three: by Jensen's
inequality the choice raises the expectation by at most :math:`\log(3) / n` nats per datum, and Markov's inequality
holds with that much added (:meth:`~ppl_vae.evidence.estimate.Estimate.at_least`). The mean over all chains is kept
unless one start alone is better by more than the error, so that noise rarely chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import hypot, log

import torch
from torch import Tensor

from ppl_vae.evidence.estimate import Bound, Estimate
from ppl_vae.evidence.importance import log_mean_exp
from ppl_vae.evidence.leave_one_out import leave_one_out

__all__ = ["CERTAIN", "FEWEST", "LEAST", "by_start", "chosen", "disagreement", "few_weights", "together"]

CERTAIN = 3
"""Standard errors by which starts must differ to disagree: few chains have errors of their own errors."""

LEAST = 0.01
"""Difference between starts that is never a warning, in nats per datum."""

FAR = 5.0
"""Nats per datum that chains from the guide fall short of those from the prior where neither need have arrived."""

FEWEST = 16
"""Weights, of all data, that tell the error of their mean: of skewed ones the largest is seldom among fewer."""


def few_weights(best: Estimate) -> str | None:
    """A warning where an estimate has too few chains to know its own error; None where it has enough."""
    if best.draws * len(best.pointwise) >= FEWEST:
        return None
    data = "one datum" if len(best.pointwise) == 1 else f"{len(best.pointwise)} data"
    return (
        f"{best.draws} chains each of {data} are too few to know their own error, which may be many times the +- that "
        "is stated: raise the draws (--draws, draws=) to 32 or more"
    )


def by_start(weights: Mapping[str, Tensor], method: str, bound: Bound) -> dict[str, Estimate]:
    """Estimates of log p(x) by start, from the log-weights of their chains, ``(chains, data)``.

    Arguments:
        weights: Log-weights of p(x) by start; of an upper bound those of 1 / p(x), whose logarithm is negated.
        method: What the chains are.
        bound: ``"lower"`` or ``"upper"``.
    """
    sign = 1 if bound == "lower" else -1
    estimates = {}
    # The chains of all starts together are not blind where one start is.
    upper = leave_one_out(torch.cat(list(weights.values()))) if bound == "lower" else None
    for start, each in weights.items():
        value, se = log_mean_exp(each)
        whence = f" from the {start}" if len(weights) > 1 else ""
        estimates[start] = Estimate(
            sign * value, f"{method}, {len(each)} chains{whence}", bound, len(each), se, upper=upper
        )
    return estimates


def together(starts: Mapping[str, Estimate]) -> Estimate:
    """The estimate of all chains, whatever their start: the logarithm of the mean of all weights."""
    parts = list(starts.values())
    if len(parts) == 1:
        return parts[0]
    sign, chains = (1 if parts[0].bound == "lower" else -1), sum(part.draws for part in parts)
    shares = torch.stack([sign * part.pointwise + log(part.draws / chains) for part in parts])
    value = shares.logsumexp(0)
    errors = torch.stack([part.pointwise_se for part in parts if part.pointwise_se is not None])
    se = ((shares - value).exp().nan_to_num(0) * errors).square().sum(0).sqrt()
    method = parts[0].method.rpartition(", ")[0]
    return replace(parts[0], pointwise=sign * value, method=f"{method}, {chains} chains", draws=chains, pointwise_se=se)


def chosen(starts: Mapping[str, Estimate]) -> Estimate:
    """The best of the estimates of all chains and of each start alone, by their means over all data."""
    everything = best = together(starts)
    if len(starts) == 1:
        return best
    sign = 1 if best.bound == "lower" else -1
    # Chains of one start are half of all: the difference from their mean has half the error of that of two starts.
    error = hypot(*(each.se for each in starts.values()))
    for each in starts.values():
        if sign * (each.mean - best.mean) > error:
            best = each
    if best is not everything:
        # The upper bound of all chains, which is too low where half of them count as nothing; it may be raised.
        best = _raised(best, everything)
    if "guide" in starts and best.mean - starts["guide"].mean > FAR:
        # Chains from the guide have not come to the posterior in so many temperatures, and those from the prior, which
        # ended higher, may be as far from it. (Those from the prior often end far below those from a good guide.)
        best = _raised(best, starts["guide"])
    return replace(best, selection=log(1 + len(starts)))


def _raised(best: Estimate, above: Estimate) -> Estimate:
    """An estimate whose upper bound is raised by as much as it lies above another one."""
    if best.upper is None:
        return best
    by = (best.pointwise - above.pointwise).clamp(min=0)
    return replace(best, upper=replace(best.upper, pointwise=best.upper.pointwise + by))


def disagreement(starts: Mapping[str, Estimate], best: Estimate) -> str | None:
    """A warning where chains from one start fall short of the best estimate beyond error; None where they agree."""
    worse, other = sorted(starts, key=lambda start: starts[start].mean)
    one, two = starts[worse], starts[other]
    error = hypot(one.se, two.se)
    missed = best.mean - one.mean
    if not missed > max(CERTAIN * error, LEAST):
        return None
    errors = torch.stack([e.pointwise_se for e in (one, two) if e.pointwise_se is not None]).square().sum(0).sqrt()
    apart = int(((two.pointwise - one.pointwise).abs() > CERTAIN * errors + LEAST).sum())
    reason = (
        "the guide leaves out a part of the posterior"
        if worse == "guide"
        else "from there the temperatures are too few; raise them (--temperatures, temperatures=) until the starts "
        "agree"
    )
    return (
        f"the starts of annealing disagree, in {apart} of {len(errors)} data: chains from the {worse} reach "
        f"{one.mean:.3f}, from the {other} {two.mean:.3f} (difference {two.mean - one.mean:.3f} +- {error:.2g}); "
        f"{reason}. The evidence is that of {best.method}"
    )

"""Bound, evidence and gap by the best method a pair allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log, prod
from typing import Any, Literal, cast

import torch
from torch import Tensor

from ppl_vae.batches import PackedCounts
from ppl_vae.evidence.enumeration import enumerate_states
from ppl_vae.evidence.importance import from_log_weights, importance, log_weights
from ppl_vae.evidence.results import Estimate, Measurement
from ppl_vae.modes import evaluating
from ppl_vae.sites import GuideSite, guide_sites

__all__ = ["cells", "measure", "obstacle", "quick_evidence"]

Program = Callable[..., Any]
Progress = Callable[[int], None]
Method = Literal["auto", "enumeration", "importance"]

CHEAP_STATES = 2**12
"""Most states at which any guide's density is evaluated; independent bits, one matrix product, are always."""


def measure(
    model: Program,
    guide: Program,
    x: Any,
    *,
    draws: int = 100,
    method: Method = "auto",
    most_bits: int = 16,
    progress: Progress | None = None,
) -> Measurement:
    r"""ELBO, evidence and gap of each datum, all from the log-weights of the pair.

    Where all latents together have at most :math:`2^{\mathrm{most\_bits}}` states everything is exact: with
    :math:`w(z) = \log p(x, z) - \log q(z \mid x)`,

    .. math:: \log p(x) = \log \sum_z p(x, z), \qquad
        \mathcal{L} = \sum_z q(z \mid x)\, w(z);

    only the bound of a guide whose density is dear to evaluate (autoregressive, beyond 12 bits) comes from draws.
    Otherwise the mean of w over draws estimates the ELBO, and the log of the mean weight bounds the evidence
    from below in expectation (Burda, Grosse and Salakhutdinov 2016).

    Arguments:
        model: The generative model.
        guide: Its guide.
        x: The data; worked through in blocks.
        draws: Draws a datum, where they are needed.
        method: ``"auto"`` takes enumeration where it is affordable.
        most_bits: Longest code to enumerate.
        progress: Called with the number of (datum, code or draw) cells done since the last call.

    Returns:
        A :class:`Measurement`, in nats per datum.

    Raises:
        ValueError: If enumeration is asked for and impossible, naming the site; or if there are no data.
    """
    if len(x) == 0:
        raise ValueError("there are no data to measure")
    with evaluating(model, guide):
        sites = guide_sites(model, (x[:2],))
        wrong = obstacle(sites, most_bits)
        if method == "enumeration" and wrong:
            raise ValueError(f"enumeration is not possible: {wrong}; use method='importance'")
        if method == "importance" or wrong:
            return importance(model, guide, x, draws, progress)
        parts = []
        cheap = _cheap(guide, x, sites)
        for part in _blocks(x):
            found = enumerate_states(model, guide if cheap else None, part, sites, progress)
            parts.append(found if isinstance(found, Measurement) else _beside(found, model, guide, part, draws, sites))
    return Measurement.join(parts)


def quick_evidence(model: Program, guide: Program, x: Any, draws: int, most_bits: int = 10) -> Tensor:
    r"""log p(x) of each datum, ``(data,)``, in nats: quick, for watching a training.

    Exact where the latents have at most :math:`2^{\mathrm{most\_bits}}` joint states, else the importance-weighted
    bound of so many draws (Burda, Grosse and Salakhutdinov 2016, eq. 8).
    """
    with evaluating(model, guide):
        sites = guide_sites(model, (x[:2],))
        if obstacle(sites, most_bits):
            return torch.cat([w.logsumexp(0) - log(draws) for w, _ in log_weights(model, guide, x, draws)])
        return torch.cat([cast(Tensor, enumerate_states(model, None, part, sites)) for part in _blocks(x)])


def cells(model: Program, x: Any, draws: int, most_bits: int = 16) -> int:
    """How many cells :func:`measure` will report to its progress for these data."""
    with evaluating(model):
        sites = guide_sites(model, (x[:2],))
    return len(x) * (draws if obstacle(sites, most_bits) else prod(site.states for site in sites))


def obstacle(sites: list[GuideSite], most_bits: int) -> str | None:
    """Why latents drawn so cannot be enumerated; None if they can."""
    for site in sites:
        if site.kind not in ("bits", "states"):
            return f"site {site.name!r} is {site.family}"
    states = prod(site.states for site in sites)
    return f"the latents have {states} joint states, more than 2^{most_bits}" if states > 2**most_bits else None


def _cheap(guide: Program, x: Any, sites: list[GuideSite]) -> bool:
    independent = all(site.kind == "bits" and site.independent for site in guide_sites(guide, (x[:2],)))
    return independent or prod(site.states for site in sites) <= CHEAP_STATES


def _beside(evidence: Any, model: Program, guide: Program, x: Any, draws: int, sites: list[GuideSite]) -> Measurement:
    """Exact evidence beside a bound from draws."""
    elbo = Estimate.join([from_log_weights(w, distinct).elbo for w, distinct in log_weights(model, guide, x, draws)])
    words = f"enumeration of {prod(site.states for site in sites)} states"
    gap = Estimate(evidence - elbo.pointwise, f"{words}, {draws} draws", "unbiased", draws, elbo.pointwise_se)
    return Measurement(elbo, Estimate(evidence, words, "exact"), gap)


def _blocks(x: Any) -> Iterator[Any]:
    """Documents cost their distinct words, so one block takes thousands; tensors cost all their numbers."""
    block = 2**14 if isinstance(x, PackedCounts) else max(1, min(2**10, 2**18 // x[0].numel()))
    return (x[start : start + block] for start in range(0, len(x), block))

"""Likelihoods whose flip differences have a closed form, without another run of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.shapes import side_by_side
from ppl_vae.distributions.state_tables import log_probabilities
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.handlers import DRAWS, SubstituteLatents, latents, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite, guide_sites

__all__ = [
    "KnownFlipDifferences",
    "known_flip_differences",
    "knows_flip_differences",
    "scaled_log_probabilities",
    "scaled_logits",
]


class KnownFlipDifferences(NamedTuple):
    """Log-densities and flip differences from one run of a model, in nats, scaled and masked as the sites are.

    Arguments:
        log_prob: Log-density of each observed site, ``(rows, batch)``, with its gradient.
        flip_differences: log p(x, z) with a bit at 1 minus that with it at 0, by site of bits,
            ``(rows, batch, bits)``.
    """

    log_prob: dict[str, Tensor]
    flip_differences: dict[str, Tensor]


def known_flip_differences(scored: Mapping[str, Any], bits: Iterable[str]) -> KnownFlipDifferences | None:
    """Flip differences of bits that are but features of a likelihood; None where a site does not know them.

    A likelihood knows those of its features ``hidden`` if it has a method ``log_prob_and_flip_differences``. The
    latents of the model must be independent of each other, see :func:`knows_flip_differences`.
    """
    differences, log_probs = {}, {}
    for name in bits:
        logits = exponential_family.bit_logits(scored[name]["fn"])
        if logits is None:
            return None
        differences[name] = _scaled(logits, scored[name])
    for name, site in scored.items():
        if not site["is_observed"]:
            continue
        fn = site["fn"]
        feature = next((n for n in differences if getattr(fn, "hidden", None) is scored[n]["value"]), None)
        if feature is None or not hasattr(fn, "log_prob_and_flip_differences"):
            return None
        log_prob, difference = fn.log_prob_and_flip_differences(site["value"])
        log_probs[name] = scale_and_mask(log_prob, site["scale"], site["mask"])
        differences[feature] = differences[feature] + _scaled(difference, site)
    return KnownFlipDifferences(log_probs, differences)


def knows_flip_differences(
    model: Callable[..., Any], sites: list[GuideSite], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool:
    """Whether :func:`known_flip_differences` serves a model of one plate for the bits that a guide draws."""
    bits = [site.name for site in sites if site.kind == "bits"]
    with evaluating(model), fork_random_state():
        scored = run(model, args, dict(kwargs), draws=2, training=True)
        drawn = latents(scored)
        frames = [[f.name for f in site["cond_indep_stack"] if f.name != DRAWS] for site in scored.values()]
        if not bits or not set(bits) <= set(drawn) or any(len(names) != 1 for names in frames):
            return False
        values = {name: site["value"] for name, site in drawn.items()} | scored.indices
        scored = run(model, args, dict(kwargs), draws=2, handler=SubstituteLatents(values), training=True)
        if not all(site.independent for site in guide_sites(model, args, dict(kwargs))):
            return False
        return known_flip_differences(scored, bits) is not None


def scaled_logits(bits: Mapping[str, Any]) -> Tensor:
    """Flip differences of log q at a guide's sites, the same in every row, ``(*plates, bits)``."""
    parts = []
    for site in bits.values():
        logits = exponential_family.bit_logits(site["fn"])
        assert logits is not None
        parts.append(_scaled(logits[0].detach(), site))
    return side_by_side(parts)


def scaled_log_probabilities(states: Mapping[str, Any]) -> Tensor:
    """log q of each state at a guide's sites, the same in every row, ``(*plates, states of all)``."""
    tables = {name: log_probabilities(site["fn"])[0].detach().flatten(-2) for name, site in states.items()}
    return side_by_side([_scaled(table, states[name]) for name, table in tables.items()])


def _scaled(value: Tensor, site: Mapping[str, Any]) -> Tensor:
    """One number per bit, weighted as the log-density of its site is."""
    if site["mask"] is None and isinstance(site["scale"], int | float) and site["scale"] == 1:
        return value
    scaled: Tensor = value * scale_and_mask(torch.ones_like(value[..., 0]), site["scale"], site["mask"])[..., None]
    return scaled

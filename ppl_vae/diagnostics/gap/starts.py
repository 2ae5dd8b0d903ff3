"""Where the searches for the best member of a guide's family begin: draws of prior and guide, and weights of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Bernoulli

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.bits import BitsDistribution
from ppl_vae.evidence.rare_parts import with_flat_prior
from ppl_vae.programs.handlers import check_cover, latents, run
from ppl_vae.programs.log_weight import log_parts, log_terms
from ppl_vae.programs.types import Program

__all__ = ["Draws", "draw_latents", "regions"]

DRAWS = 32
"""Draws at once."""

PRIOR, GUIDE = 128, 64
"""Draws of the prior and of the guide."""

MODES = 3
"""Draws of high density to start from, each far from the others."""

CANDIDATES = 8
"""Draws from each of which bits are flipped one by one, uphill."""

MOST_BITS = 64
"""Length of the longest code whose bits are flipped: each takes an evaluation of the model."""


@dataclass(frozen=True)
class Draws:
    """Draws of the latents of each datum, first those of the prior.

    Arguments:
        values: Values by site, ``(draws, data, *event)``.
        log_joint: log p(x, z), ``(draws, data)``.
        log_weight: Log importance weights, ``(draws, data)``.
    """

    values: dict[str, Tensor]
    log_joint: Tensor
    log_weight: Tensor


def draw_latents(model: Program, guide: Program, x: Batch) -> Draws:
    """Draws latents from prior and guide, and moves the likeliest uphill: bit by bit, to a mode of the posterior.

    The prior is flattened where it has rare states or components.
    """
    model = with_flat_prior(model, x, 0.5)
    prior, kinds = run(model, (x,), {}, draws=DRAWS), (Bernoulli, BitsDistribution)
    check_cover(prior, latents(run(guide, (x[:1],), {}, draws=1)))
    fns = {site: each["fn"] for site, each in latents(prior).items()}
    bits = {site: fn.event_shape.numel() for site, fn in fns.items() if isinstance(exponential_family.base(fn), kinds)}
    found: list[dict[str, Tensor]] = []
    scores: list[tuple[Tensor, Tensor]] = []  # log p(x, z), and log-weight
    for _ in range(PRIOR // DRAWS):
        drawn = {site: each["value"] for site, each in latents(run(model, (x,), {}, draws=DRAWS)).items()}
        likelihood, densities = log_parts(model, x, drawn)
        found.append(drawn)
        scores.append((sum(densities.values(), likelihood), likelihood))
    for _ in range(GUIDE // DRAWS):
        terms = log_terms(model, guide, x, DRAWS)
        found.append(terms.values)
        scores.append((sum(terms.prior.values(), terms.likelihood), terms.weight))
    size = (DRAWS, len(x))
    joint, weight = (torch.cat([each.expand(size) for each in parts]) for parts in zip(*scores, strict=True))
    joint, weight = (each.masked_fill(each.isnan(), -torch.inf) for each in (joint, weight))
    values = {
        site: torch.cat([drawn[site].expand(*size, *fn.event_shape) for drawn in found]) for site, fn in fns.items()
    }
    draws = Draws(values, joint, weight)
    return _uphill(model, x, draws, bits) if 0 < sum(bits.values()) <= MOST_BITS else draws


def _uphill(model: Program, x: Batch, draws: Draws, bits: dict[str, int]) -> Draws:
    """Adds what the likeliest draws become where each bit in turn takes the likelier value, twice over."""
    chosen = torch.stack(list(_apart(draws, CANDIDATES)))
    rows = torch.arange(len(x), device=chosen.device)
    values = {site: value[chosen, rows] for site, value in draws.values.items()}
    joint = draws.log_joint[chosen, rows]
    for _ in range(2):
        for site, size in bits.items():
            for j in range(size):
                flipped = values[site].reshape(CANDIDATES, len(x), -1).clone()
                flipped[..., j] = 1 - flipped[..., j]
                other = values | {site: flipped.view_as(values[site])}
                likelihood, prior = log_parts(model, x, other)
                score = sum(prior.values(), likelihood)
                better = score > joint  # never where it is undefined
                joint = torch.where(better, score, joint)
                shape = (*better.shape, *[1] * (values[site].dim() - 2))
                values[site] = torch.where(better.view(shape), other[site], values[site])
    return replace(
        draws,
        values={site: torch.cat([value, values[site]]) for site, value in draws.values.items()},
        log_joint=torch.cat([draws.log_joint, joint]),
        # No draws of a known distribution: of no weight among the others.
        log_weight=torch.cat([draws.log_weight, torch.full_like(joint, -torch.inf)]),
    )


def _apart(draws: Draws, count: int) -> Iterator[Tensor]:
    """Yields the number of the likeliest draw of each datum, ``(data,)``, of the likeliest far from it, and so on."""
    flat = torch.cat([value.reshape(*value.shape[:2], -1).to(draws.log_joint) for value in draws.values.values()], -1)
    prior = flat[:PRIOR]
    flat = flat / prior.std(0).clamp(min=1e-6)
    near = 0.1 * (flat[: PRIOR // 2] - flat[PRIOR // 2 : PRIOR]).square().sum(-1).mean(0)
    score, rows = draws.log_joint.clone(), torch.arange(flat.shape[1], device=flat.device)
    for _ in range(count):
        best = score.argmax(0)
        yield best
        score = score.masked_fill((flat - flat[best, rows]).square().sum(-1) <= near, -torch.inf)


def regions(draws: Draws) -> Iterator[Tensor]:
    """Yields weights of the draws of each datum, ``(draws, data)``, that make up a start.

    The prior; the posterior as importance weights show it; the likeliest draws, each alone; then the prior and one of
    its draws, half each.
    """
    everywhere = torch.zeros_like(draws.log_joint)
    everywhere[:PRIOR] = 1 / PRIOR
    rows = torch.arange(everywhere.shape[1], device=everywhere.device)

    def alone(which: Tensor) -> Tensor:
        weights = torch.zeros_like(everywhere)
        weights[which, rows] = 1
        return weights

    yield everywhere
    weights = draws.log_weight.softmax(0)
    yield torch.where(weights.isnan(), everywhere, weights)
    for which in _apart(draws, MODES):
        yield alone(which)
    for number in range(PRIOR):
        yield (everywhere + alone(torch.full_like(rows, number))) / 2

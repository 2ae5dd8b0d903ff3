"""Latents that all data share: the evidence of each datum given them, and a bound on that of all data together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from pyro import poutine
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.estimate import Bound, Estimate, weakest
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.arguments import call
from ppl_vae.programs.autoguides import without_autoguide
from ppl_vae.programs.densities import InOrder
from ppl_vae.programs.fit import check_densities
from ppl_vae.programs.handlers import SubstituteLatents, latents, run, total
from ppl_vae.programs.parameters import LocalParameters
from ppl_vae.programs.shared import Shared
from ppl_vae.programs.types import Program

__all__ = ["SHARED_DRAWS", "given_shared_latents"]

SHARED_DRAWS = 20
"""Number of draws of what all data share."""


def given_shared_latents(
    model: Program, guide: Program, x: Batch, names: list[str], measure: Callable[[Program, Program], Evidence]
) -> Evidence:
    r"""ELBO and evidence of each datum given what all data share, and a bound on the evidence of all data.

    A datum has no evidence of its own where data share a latent g. For each datum it is

    .. math:: \mathbb{E}_{q(g)} \log p(x_i \mid g)

    by draws of g from the guide, which is no bound on :math:`\log p(x_i)`. The joint bound, of all these data, is

    .. math:: \mathbb{E}_{q(g)} \Bigl[\sum_i \log p(x_i \mid g) + \log p(g) - \log q(g)\Bigr]
        \le \log p(x_1, \dots, x_N)

    with the other latents summed out, or bounded from below. Both are averages over the same draws.

    Arguments:
        model: The generative model.
        guide: Its guide, which draws g, too.
        x: The data.
        names: The latents that all data share.
        measure: Measures a pair without them.

    Raises:
        ValueError: If the guide does not draw one of them, or draws a point that has no density, naming it.
    """
    guide = without_autoguide(guide)
    results, rates = [], []
    for _ in range(SHARED_DRAWS):
        values, rate = _draw(model, guide, x, names)
        pair = Shared(model, values), Shared(guide, values)
        if latents(run(pair[0], (x[:2],), {}, draws=1)):
            results.append(measure(*pair))
        else:
            results.append(_without_latents(pair[0], x))
        rates.append(rate)
    sites = " and ".join(repr(name) for name in names)
    evidence, elbo = (_mean([getattr(each, part) for each in results], sites) for part in ("evidence", "elbo"))
    sums = torch.stack([each.evidence.pointwise.double().sum() for each in results]) - torch.stack(rates)
    # A guide's draw of g may be measured by another method than the next one.
    bound: Bound = "lower" if evidence.bound in ("unbiased", "lower") else evidence.bound
    size = "at least" if bound == "lower" else "about"
    note = (
        f"all data share {sites}: the evidence is that of a datum given {sites}, on average over the guide's draws, "
        f"and no bound on log p(x) of a datum; the joint bound, log p of all {len(x)} data together, is {size} "
        f"{sums.mean().item():.6g} +- {_error(sums).item():.2g} nats"
    )
    gap = replace(evidence.minus(elbo), common_se=0.0)
    joint = Estimate(sums.mean()[None], f"{SHARED_DRAWS} draws of {sites}", bound, SHARED_DRAWS, _error(sums)[None])
    why = f"{results[0].why}; all data share {sites}"
    return Evidence(elbo, evidence, gap, why, joint=joint).noting(note)


def _error(values: Tensor) -> Tensor:
    result: Tensor = values.std() / len(values) ** 0.5
    return result


def _draw(model: Program, guide: Program, x: Batch, names: list[str]) -> tuple[dict[str, Tensor], Tensor]:
    """A draw of what all data share by site, and log q(g) - log p(g)."""
    with torch.no_grad(), poutine.block(), LocalParameters(), InOrder(None):
        drawn = poutine.trace(partial(call, guide, (x,), {})).get_trace().nodes
        if missing := [name for name in names if name not in drawn]:
            raise ValueError(f"the guide does not draw {missing[0]!r}, which all data share; add the site to the guide")
        values = {name: drawn[name]["value"] for name in names}
        with poutine.trace() as scored, SubstituteLatents(values):
            call(model, (x[:2],), {})
        prior = scored.trace.nodes
        check_densities({name: drawn[name] for name in names}, prior)
        rate = sum(
            drawn[name]["fn"].log_prob(value).double().sum() - prior[name]["fn"].log_prob(value).double().sum()
            for name, value in values.items()
        )
    return values, torch.as_tensor(rate)


def _without_latents(model: Program, x: Batch) -> Evidence:
    """The evidence of a model that has no latents left, its likelihood."""
    with torch.no_grad():
        value = total(run(model, (x,), {}, draws=1), "model")[0].double().expand(len(x))
    likelihood = Estimate(value, "likelihood", "exact")
    return Evidence(likelihood, likelihood, Estimate(0 * value, "likelihood", "exact"), "there is no other latent")


def _mean(parts: list[Estimate], sites: str) -> Estimate:
    """The mean over draws of what all data share, whose error is common to them."""
    values = torch.stack([part.pointwise.double() for part in parts])
    bound = weakest(parts)
    bound = "unbiased" if bound == "exact" else bound
    error = _error(values.mean(1)).item()
    method = f"{parts[0].method}, given {len(parts)} draws of {sites}"
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return Estimate(values.mean(0), method, bound, len(parts), notes=notes, common_se=error)

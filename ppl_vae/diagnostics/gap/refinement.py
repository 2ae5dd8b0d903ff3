"""Guides refined for each datum: steps of gradient ascent from the output of the network."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.gap.family_members import GuideFamily, members_of
from ppl_vae.diagnostics.gap.gradient_ascent import ascents_at_once, climb
from ppl_vae.estimators import Estimator
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import from_log_weights, log_weights
from ppl_vae.nn.modes import evaluating, evaluation_mode, frozen
from ppl_vae.objectives.choice import make_estimator
from ppl_vae.programs.prepared import prepared
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program, Progress

__all__ = ["refine", "refined_parts"]


def refine(
    model: Program,
    guide: Program,
    x: Batch,
    steps: int,
    *,
    draws: int = 200,
    rate: float = 0.1,
    step_draws: int = 2,
    estimator: Estimator | str = "auto",
    progress: Progress | None = None,
) -> tuple[Estimate, Tensor]:
    r"""The ELBO after some steps of gradient ascent for each datum, from the output of the guide.

    .. math:: \lambda_i \leftarrow \lambda_i + \rho\, \nabla_{\lambda_i}
        \mathbb{E}_{q_{\lambda_i}(z)}\bigl[\log p(x_i, z) - \log q_{\lambda_i}(z)\bigr], \qquad
        \lambda_i^{(0)} = \text{guide}(x_i)

    (Hjelm et al. 2016; Kim et al. 2018, there also while training.) Adam's mean over the last half of the iterates is
    taken where it has the higher ELBO by the same random numbers, else the guide's output; the value is that of other
    draws, so that the choice does not bias it upwards. There is one start: unlike
    :func:`~ppl_vae.diagnostics.gap.gradient_ascent.optimal_member` this looks for no other maximum, and costs what
    inference costs in use.

    Arguments:
        model: The generative model.
        guide: Its guide, as of ``optimal_member``.
        x: The data; worked through in blocks.
        steps: Number of steps.
        draws: Number of draws per datum, for the choice and again for the value.
        rate: Learning rate of Adam.
        step_draws: Number of draws per datum and step.
        estimator: Gradient estimator for discrete sites; replaced where it does not fit.
        progress: Called with the number of (datum, step) cells completed since the last call.

    Returns:
        The ELBO in nats per datum, and the parameters of the members, ``(data, numbers)``.

    Raises:
        ValueError: If a site's family is not known, naming it, or there is no step.
    """
    values, members = list[Estimate](), list[Tensor]()
    how: dict[str, Any] = {"rate": rate, "step_draws": step_draws, "estimator": estimator, "progress": progress}
    with closing(refined_parts(model, guide, x, steps, draws=draws, **how)) as parts:
        for family, part, free in parts:
            members.append(free)
            with evaluating(model):
                values.append(_elbo(model, family, part, free, draws, int(torch.randint(2**31, ()))))
    value = replace(Estimate.join(values), method=f"guide refined by {steps} steps, {draws} draws")
    return value, torch.cat(members)


def refined_parts(
    model: Program,
    guide: Program,
    x: Batch,
    steps: int,
    *,
    draws: int = 200,
    rate: float = 0.1,
    step_draws: int = 2,
    estimator: Estimator | str = "auto",
    progress: Progress | None = None,
) -> Generator[tuple[GuideFamily, Batch, Tensor]]:
    """Yields the guide's family, a block of data, and the parameters of the members that :func:`refine` finds."""
    if steps < 1:
        raise ValueError(f"a guide is refined by at least one step, got {steps}")
    estimator = make_estimator(estimator) if isinstance(estimator, str) else estimator
    report = progress or (lambda cells: None)
    with prepared(model, guide, x):
        family, block = members_of(guide, x), ascents_at_once(x)
        for start in range(0, len(x), block):
            part = x[start : start + block]
            with evaluating(model, guide):
                first = family.guide_parameters(part)
            with evaluation_mode(model, guide), frozen(model, guide):
                (last,) = climb(model, family, part, first[None], steps, rate, step_draws, estimator, report)
            with evaluating(model):
                seed = int(torch.randint(2**31, ()))
                before, after = (_elbo(model, family, part, free, draws, seed).pointwise for free in (first, last))
            yield family, part, torch.where((after > before)[:, None], last, first)


def _elbo(model: Program, family: GuideFamily, x: Batch, free: Tensor, draws: int, seed: int) -> Estimate:
    """The ELBO of members with these parameters, by the random numbers of a seed."""
    with fork_random_state(seed):
        pieces = [*log_weights(model, family.program(free), x, draws)]
    return Estimate.join([from_log_weights(piece.weights, piece.distinct).elbo for piece in pieces])

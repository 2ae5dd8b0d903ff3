"""The best member of a guide's family for each datum, by gradient ascent on the ELBO of that datum alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.gap.family_members import GuideFamily, members_of
from ppl_vae.diagnostics.gap.gap import GAINED, LEAD
from ppl_vae.diagnostics.gap.starts import draw_latents, regions
from ppl_vae.estimators import Estimator
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import from_log_weights, log_weights
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import evaluating, evaluation_mode, frozen
from ppl_vae.objectives.choice import fit_estimator, make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.blocks import rows_at_once
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.types import Program, Progress

__all__ = ["Ascent", "ascents_at_once", "climb", "optimal_member"]

FINER = 0.2
"""Ratio of the learning rate in the second round to that in the first."""

MOST_STARTS = 64

FIRST = 6
"""The part of the steps, one in so many, after which half of the ascents end."""

JUDGED = 32
"""Draws per datum by which ascents are compared then."""

DATA = 2**9
"""Largest number of data that ascend together."""

SURE = 2
"""Standard errors by which an end of the search must be better than the guide's own output."""


@dataclass(frozen=True)
class Ascent:
    """The best member of a family found for each datum.

    Arguments:
        best: ELBO of the member from fresh draws, a lower bound on that of the best member.
        evidence: log p(x) by importance weights from other draws of the member.
        gain: ELBO gained in the last half of the steps, of the order of what as many more would gain.
        lead: ELBO of the best start minus that of the second-best: near zero where two starts agree, large where there
            are many maxima, the best of which may have been missed. None with a single start.
        free: Parameters of the member, ``(data, numbers)``.
        ends: Parameters of the members at which the ascents from all starts end, ``(data, starts, numbers)``.
    """

    best: Estimate
    evidence: Estimate
    gain: Estimate
    lead: Estimate | None
    free: Tensor
    ends: Tensor

    @property
    def optimisation(self) -> dict[str, Estimate]:
        """Estimates of the optimisation error by name."""
        return {GAINED: self.gain} | ({} if self.lead is None else {LEAD: self.lead})

    @classmethod
    def join(cls, parts: list[Ascent]) -> Ascent:
        """Returns the ascent of all data from those of consecutive blocks."""
        best, evidence, gain = (Estimate.join([getattr(p, n) for p in parts]) for n in ("best", "evidence", "gain"))
        leads = [part.lead for part in parts if part.lead is not None]
        free, ends = torch.cat([part.free for part in parts]), torch.cat([part.ends for part in parts])
        return cls(best, evidence, gain, Estimate.join(leads) if leads else None, free, ends)


def optimal_member(
    model: Program,
    guide: Program,
    x: Batch,
    *,
    steps: int = 600,
    draws: int = 200,
    restarts: int = 4,
    rate: float = 0.1,
    step_draws: int = 2,
    estimator: Estimator | str = "auto",
    progress: Progress | None = None,
) -> Ascent:
    r"""Maximises the ELBO of each datum over its own parameters, the model fixed.

    .. math:: \max_{\lambda_i}\ \mathbb{E}_{q_{\lambda_i}(z)}\bigl[\log p(x_i, z) - \log q_{\lambda_i}(z)\bigr]

    (Cremer, Li and Duvenaud 2018, section 3.1.) Adam ascends from several starts at once: the guide's own output; the
    moments of the prior; those of the posterior, by importance weights of draws from prior and guide; the likeliest of
    these draws, far from each other (of bits, after each has been set to its likelier value); points half-way between
    the prior and single draws. After a sixth of the steps half of the starts go on: guide and prior, and the best of
    the others. There are two rounds of half the steps, the second at a fifth of the rate; a round ends at the mean over
    its last half of iterates (Polyak and Juditsky 1992). For each datum the best end is chosen on one set of draws and
    valued on another, so that the choice does not bias the value. The unchanged output of the guide is kept unless an
    end is better by two standard errors, of this datum or on average over those data in which it is not; all are
    compared by the same random numbers.

    Arguments:
        model: The generative model.
        guide: Its guide: an amortised one of a structured family (``tree``, ``mixture``, ``low_rank``), or any whose
            sites have known parameters. Sites that depend on others keep their structure
            (:class:`~ppl_vae.diagnostics.gap.corrected.CorrectedFamily`).
        x: The data; worked through in blocks.
        steps: Number of steps of each ascent, even.
        draws: Number of draws per datum, for the choice and again for each returned value.
        restarts: Number of starts that ascend to the end; there are twice as many at first.
        rate: Learning rate of Adam in the first round.
        step_draws: Number of draws per datum and step.
        estimator: Gradient estimator for discrete sites; replaced where it does not fit.
        progress: Called with the number of (datum, step) cells completed since the last call.

    Returns:
        An :class:`Ascent`, in nats per datum.

    Raises:
        ValueError: If a site's family is not known, naming it, or numbers are out of range.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        >>> ascent = optimal_member(model, guide, torch.tensor([2.0]), restarts=1, steps=200)
        >>> abs(ascent.best.mean + 2.27) < 0.05  # the evidence: the posterior is normal
        True
    """
    for name, value, least in (("steps", steps, 4), ("draws", draws, 2), ("restarts", restarts, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if steps % 2:
        raise ValueError(f"an ascent has two rounds of half the steps, which must be even, got {steps}")
    if restarts > MOST_STARTS:
        raise ValueError(f"there are at most {MOST_STARTS} restarts, got {restarts}")
    family = members_of(guide, x)
    estimator = make_estimator(estimator) if isinstance(estimator, str) else estimator
    report = progress or (lambda cells: None)
    parts, block = [], ascents_at_once(x)
    for start in range(0, len(x), block):
        part = x[start : start + block]
        ascent = _BlockAscent(model, guide, family, part, restarts, draws)
        with evaluation_mode(model, guide), frozen(model, guide):
            ascent.ascend(steps, rate, step_draws, estimator, report)
        with evaluating(model):
            parts.append(ascent.result(steps))
    return Ascent.join(parts)


def ascents_at_once(x: Batch) -> int:
    """Largest number of data whose parameters ascend together, and are sampled together from a guide of these data."""
    return max(1, min(DATA, rows_at_once(x) // 8))


def climb(
    model: Program,
    family: GuideFamily,
    x: Batch,
    starts: Tensor,
    steps: int,
    rate: float,
    step_draws: int,
    estimator: Estimator,
    progress: Progress,
) -> Tensor:
    """The mean of the last half of the iterates of each ascent, ``(starts, data, numbers)``.

    Arguments:
        model: The model.
        family: The guide's family.
        x: The data.
        starts: Parameters of members, ``(starts, data, numbers)``.
        steps: Number of steps of Adam.
        rate: Its learning rate.
        step_draws: Number of draws per datum and step.
        estimator: Gradient estimator for discrete sites; replaced where it does not fit.
        progress: Called with the number of (datum, step) cells completed since the last call.
    """
    count, data = starts.shape[:2]
    free = family.program(starts.flatten(0, 1))
    x = x[torch.arange(data, device=starts.device).repeat(count)]
    estimator, _ = fit_estimator(estimator, guide_sites(free, (x,)), model, (x,))
    # Without antithetic pairs and control variate the gradient is noisier.
    enough = step_draws if estimator.factorised else 4 * step_draws
    # From draws: near the best member their noise and that of the fit cancel.
    objective = DiscreteELBO(estimator, draws=max(enough, estimator.least_draws), kl="sampled")
    optimizer = torch.optim.Adam([free.free], lr=rate)
    mean, averaged = torch.zeros_like(starts), steps - steps // 2
    for step in range(steps):
        with torch.enable_grad():
            loss = objective.differentiable_loss(model, free, x)
            # Not backward: parameters of a model that is no module must keep their gradients.
            (free.free.grad,) = torch.autograd.grad(loss, [free.free])
        optimizer.step()
        if step >= steps - averaged:
            mean += free.free.detach().view_as(mean) / averaged
        progress(data)
    return mean


class _BlockAscent:
    """The ascents of one block of data."""

    def __init__(
        self, model: Program, guide: Program, family: GuideFamily, x: Batch, restarts: int, draws: int
    ) -> None:
        self.model, self.family, self.x, self.draws = model, family, x, draws
        self.restarts = restarts
        with evaluating(model, guide):
            drawn, self.guide_parameters = draw_latents(model, guide, x), family.guide_parameters(x)
            numbers = self.guide_parameters.shape[-1]
            others = enumerate(islice(regions(drawn), 2 * restarts - 1))
            starts = [family.from_draws(drawn, weights, numbers, which) for which, weights in others]
        self.starts = torch.stack([self.guide_parameters, *(start.to(self.guide_parameters) for start in starts)])
        self.rounds: list[Tensor] = []

    def ascend(
        self,
        steps: int,
        rate: float,
        step_draws: int,
        estimator: Estimator,
        progress: Progress,
    ) -> None:
        """Runs two rounds of ascent, the second finer; each ends at the mean of its last iterates."""
        first, half = max(1, steps // FIRST), steps // 2
        ends = self._climb(self.starts, first, rate, step_draws, estimator, progress)
        scores = torch.stack([self._value(free, min(self.draws, JUDGED)).elbo.pointwise for free in ends])
        # The guide and the prior go on: they begin wide, and may end highest though they are not ahead yet.
        scores[: self.restarts // 2] = torch.inf
        chosen = scores.nan_to_num(-torch.inf, torch.inf, -torch.inf).topk(self.restarts, 0).indices
        ends = ends.gather(0, chosen[..., None].expand(-1, -1, ends.shape[-1]))
        for count, fineness in ((half - first, 1), (half, FINER)):
            ends = self._climb(ends, count, fineness * rate, step_draws, estimator, progress)
            self.rounds.append(ends)

    def _climb(self, starts: Tensor, *how: Any) -> Tensor:
        return climb(self.model, self.family, self.x, starts, *how)

    def result(self, steps: int) -> Ascent:
        before, after = (torch.cat([self.guide_parameters[None], ends]) for ends in self.rounds)
        rows = torch.arange(len(self.guide_parameters), device=self.guide_parameters.device)
        seed = int(torch.randint(2**31, ()))
        weights = torch.stack([self._weights(free, seed) for free in after])
        scores = weights.mean(1)
        chosen = 1 + scores[1:].argmax(0)
        better, error = _paired(weights[chosen, :, rows].T, weights[0])
        undecided = ~(better > SURE * error)
        if undecided.any():
            # Together they show what no datum does; by other draws, since these have chosen among the ends.
            again = [self._weights(free, seed + 1) for free in (after[chosen, rows], after[0])]
            better, error = (each[undecided] for each in _paired(*again))
            if not better.mean() > SURE * error.square().sum().sqrt() / len(error):
                chosen = chosen.masked_fill(undecided, 0)
        best = after[chosen, rows]
        method = f"ascent of {steps} steps from {len(self.starts)} starts"
        value = self._value(best).elbo
        result = Estimate(value.pointwise, method, "lower", value.draws, value.pointwise_se)
        lead = None
        if self.restarts > 1:
            scores[0], scores[chosen, rows] = -torch.inf, -torch.inf
            lead = value.minus(self._value(after[scores.argmax(0), rows]).elbo)
        gain = value.minus(self._value(before[chosen, rows]).elbo)
        return Ascent(result, self._value(best).evidence, gain, lead, best, after[1:].transpose(0, 1))

    def _weights(self, free: Tensor, seed: int) -> Tensor:
        """Log-weights of members with these parameters by the random numbers of a seed, ``(draws, data)``."""
        with fork_random_state(seed):
            pieces = [piece.weights for piece in log_weights(self.model, self.family.program(free), self.x, self.draws)]
        return torch.cat(pieces, 1).nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)

    def _value(self, free: Tensor, draws: int | None = None) -> Evidence:
        """Evidence and ELBO of members with these parameters, ``(data, numbers)``, from fresh draws."""
        pieces = log_weights(self.model, self.family.program(free), self.x, draws or self.draws)
        return Evidence.join([from_log_weights(piece.weights, piece.distinct) for piece in pieces])


def _paired(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard error of the differences of log-weights by the same random numbers, ``(data,)`` each.

    An ELBO of minus infinity is worse than any other, and no better than itself.
    """
    impossible = other.isneginf().any(0)
    difference = (one - other).masked_fill(impossible, 0)
    mean = difference.mean(0).masked_fill(impossible & one.isfinite().all(0), torch.inf)
    return mean, (difference.std(0) / len(one) ** 0.5).nan_to_num(0)

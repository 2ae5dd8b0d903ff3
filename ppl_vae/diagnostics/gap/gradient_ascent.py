"""The best member of a guide's family for each datum, by gradient ascent on the ELBO of that datum alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.data.counts import Batch, PackedCounts
from ppl_vae.diagnostics.gap.family_members import PerDatumGuide, VariationalFamily, members_of
from ppl_vae.estimators import Estimator
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import from_log_weights, log_weights
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import evaluating, evaluation_mode, frozen
from ppl_vae.objectives.choice import fit_estimator, make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.blocks import CELLS
from ppl_vae.programs.handlers import check_cover, latents, run
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.types import Program, Progress

__all__ = ["Ascent", "optimal_member"]

FINER = 0.2
"""How much smaller the rate of the second round is."""

PRIOR_DRAWS = 32

DATA = 2**9
"""Most data that ascend together."""

GAINED, LEAD = "gain of the second round", "lead over other starts"
"""The estimates by which the optimisation error is judged."""


@dataclass(frozen=True)
class Ascent:
    """The best member of a family found for each datum.

    Arguments:
        best: Its ELBO from fresh draws, a lower bound of the best member's.
        evidence: log p(x) by importance weights from other draws of it.
        gain: What the second round of its ascent gained over the first: the order of what a third one would.
        lead: By how much it is above the best ascent from another start: near zero where starts agree, large where
            there are many maxima, the best of which may have been missed. None with a single start.
        free: What it is made from, ``(data, numbers)``; of independent sites their parameters, as the guide draws them.
    """

    best: Estimate
    evidence: Estimate
    gain: Estimate
    lead: Estimate | None
    free: Tensor

    @property
    def optimisation(self) -> dict[str, Estimate]:
        """What there is to judge the optimisation error by."""
        return {GAINED: self.gain} | ({} if self.lead is None else {LEAD: self.lead})

    @classmethod
    def join(cls, parts: list[Ascent]) -> Ascent:
        """The ascent of all data from those of consecutive blocks."""
        best, evidence, gain = (Estimate.join([getattr(p, n) for p in parts]) for n in ("best", "evidence", "gain"))
        leads = [part.lead for part in parts if part.lead is not None]
        return cls(best, evidence, gain, Estimate.join(leads) if leads else None, torch.cat([p.free for p in parts]))


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

    (Cremer, Li and Duvenaud 2018, section 3.1.) Adam ascends from several starts at once: the guide's own output, the
    prior's marginals, then points half-way between those and single draws of the prior. It does so in two rounds of
    half the steps, the second at a fifth of the rate; the mean over the last half of a round's iterates is where it
    ends (Polyak and Juditsky 1992). For each datum the best end is chosen on one set of draws and valued on another,
    so that the choice does not flatter it; the guide's own output, left as it is, may be chosen too.

    Arguments:
        model: The generative model.
        guide: Its guide; its sites are independent of each other and Bernoulli, categorical, normal or multivariate
            normal, or it is one of this package whose members are made from numbers alone (``tree``, ``mixture``,
            ``low_rank``).
        x: The data; worked through in blocks.
        steps: Of each ascent, an even number.
        draws: A datum, for choosing and again for each value returned.
        restarts: How many starts.
        rate: Adam's, in the first round.
        step_draws: A datum and step.
        estimator: Of the gradient through discrete sites; another where it does not fit.
        progress: Called with the number of (datum, step) cells done since the last call.

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
        >>> found = optimal_member(model, guide, torch.tensor([2.0]), restarts=1)
        >>> abs(found.best.mean + 2.27) < 0.05  # the evidence: the posterior is normal
        True
    """
    for name, value, least in (("steps", steps, 4), ("draws", draws, 2), ("restarts", restarts, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if steps % 2:
        raise ValueError(f"an ascent has two rounds of half the steps, which must be even, got {steps}")
    if restarts > PRIOR_DRAWS:
        raise ValueError(f"there are at most {PRIOR_DRAWS} restarts, got {restarts}")
    family = members_of(guide, x)
    estimator = make_estimator(estimator) if isinstance(estimator, str) else estimator
    tick = progress or (lambda cells: None)
    parts = []
    width = x.vocabulary if isinstance(x, PackedCounts) else x[0].numel()
    block = max(1, min(DATA, CELLS // width // 8))  # what log_weights takes in one piece
    for start in range(0, len(x), block):
        part = x[start : start + block]
        climb = _Climb(model, guide, family, part, restarts, draws)
        with evaluation_mode(model), frozen(model):
            climb.ascend(steps, rate, step_draws, estimator, tick)
        with evaluating(model):
            parts.append(climb.result(steps))
    return Ascent.join(parts)


class _Climb:
    """The ascents of one block of data."""

    def __init__(
        self, model: Program, guide: Program, family: VariationalFamily, x: Batch, restarts: int, draws: int
    ) -> None:
        self.model, self.family, self.x, self.draws = model, family, x, draws
        with evaluating(model, guide):
            prior = latents(run(model, (x,), {}, draws=PRIOR_DRAWS))
            check_cover(prior, latents(run(guide, (x[:1],), {}, draws=1)))
            self.own = family.own(x)
            drawn = {name: site["value"] for name, site in prior.items()}
            others = [family.from_prior(drawn, self.own.shape[-1], k) for k in range(restarts - 1)]
        self.starts = torch.stack([self.own, *(start.to(self.own) for start in others)])
        self.rounds: list[Tensor] = []

    def ascend(
        self,
        steps: int,
        rate: float,
        step_draws: int,
        estimator: Estimator,
        tick: Progress,
    ) -> None:
        """Two rounds, the second from where the first ended and finer; the mean of its last iterates ends each."""
        count, data = self.starts.shape[:2]
        free = PerDatumGuide(self.family.make, self.starts.flatten(0, 1))
        x = self.x[torch.arange(data, device=self.own.device).repeat(count)]
        estimator, _ = fit_estimator(estimator, guide_sites(free, (x,)), self.model, x)
        # Without antithetic pairs and control variate a gradient is so much noisier.
        enough = step_draws if estimator.factorised else 4 * step_draws
        objective = DiscreteELBO(estimator, draws=max(enough, estimator.least_draws))
        half = steps // 2  # of each round
        for fineness in (1, FINER):
            optimizer = torch.optim.Adam([free.free], lr=fineness * rate)
            mean, kept = torch.zeros_like(self.starts), half - half // 2
            for step in range(half):
                with torch.enable_grad():
                    loss = objective.differentiable_loss(self.model, free, x)
                    # Not backward: parameters of a model that is no module must keep the gradients they have.
                    (free.free.grad,) = torch.autograd.grad(loss, [free.free])
                optimizer.step()
                if step >= half - kept:
                    mean += free.free.detach().view_as(mean) / kept
                tick(data)
            free.free.data.copy_(mean.flatten(0, 1))
            self.rounds.append(mean)

    def result(self, steps: int) -> Ascent:
        before, after = (torch.cat([self.own[None], ends]) for ends in self.rounds)
        scores = torch.stack([self._value(free).elbo.pointwise for free in after])
        chosen, rows = scores.argmax(0), torch.arange(len(self.own), device=self.own.device)
        best = after[chosen, rows]
        method = f"ascent of {steps} steps from {len(self.starts)} start{'s' * (len(self.starts) > 1)}"
        value = self._value(best).elbo
        result = Estimate(value.pointwise, method, "lower", value.draws, value.pointwise_se)
        lead = None
        if len(self.starts) > 1:
            scores[0], scores[chosen, rows] = -torch.inf, -torch.inf
            lead = value.minus(self._value(after[scores.argmax(0), rows]).elbo)
        return Ascent(
            result, self._value(best).evidence, value.minus(self._value(before[chosen, rows]).elbo), lead, best
        )

    def _value(self, free: Tensor) -> Evidence:
        """Of members with these parameters, ``(data, parameters)``, each time from fresh draws."""
        pieces = log_weights(self.model, PerDatumGuide(self.family.make, free), self.x, self.draws)
        return Evidence.join([from_log_weights(w, distinct) for w, distinct in pieces])

"""The best member of a guide's family for each datum, by gradient ascent on the ELBO of that datum alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.nn import functional

from ppl_vae.batches import PackedCounts
from ppl_vae.choice import fit_estimator, make_estimator
from ppl_vae.estimators import Estimator
from ppl_vae.evidence.importance import CELLS, from_log_weights, log_weights
from ppl_vae.evidence.results import Estimate, Measurement
from ppl_vae.guide import Latent, independent, parameters, parameters_of
from ppl_vae.log_weight import check_cover, latents, run
from ppl_vae.modes import evaluating, evaluation_mode, frozen
from ppl_vae.objectives import DiscreteELBO
from ppl_vae.randomness import kept_random_state
from ppl_vae.sites import guide_sites

__all__ = ["Ascent", "best_member", "unknown_family"]

Program = Callable[..., Any]

FAMILIES = ("Bernoulli", "categorical", "one-hot categorical", "normal", "multivariate normal")
FINER = 0.2
"""How much smaller the rate of the second round is."""
PRIOR_DRAWS = 32
DATA = 2**9
"""Most data that ascend together."""


class FreeGuide(nn.Module):
    """A guide without a network: each datum has parameters of its own.

    Arguments:
        latents: What it draws, each independent of the others.
        free: Their parameters side by side, ``(data, sum of parameters(latent))``.
    """

    def __init__(self, latents: list[Latent], free: Tensor) -> None:
        super().__init__()
        self.latents, self.free = latents, nn.Parameter(free.clone())

    def forward(self, x: Any) -> None:
        parts = self.free.split([parameters(latent) for latent in self.latents], -1)
        with pyro.plate("data", len(x)):
            for latent, part in zip(self.latents, parts, strict=True):
                pyro.sample(latent.name, independent(latent, part))


@dataclass(frozen=True)
class Ascent:
    """The best member of a family found for each datum.

    Arguments:
        best: Its ELBO from fresh draws, a lower bound of the best member's.
        evidence: log p(x) by importance weights from other draws of it.
        gain: What the second round of its ascent gained over the first: the order of what a third one would.
        lead: By how much it is above the best ascent from another start: near zero where starts agree, large where
            there are many maxima, the best of which may have been missed. None with a single start.
        free: Its parameters, ``(data, parameters)``, site by site as the guide draws them.
    """

    best: Estimate
    evidence: Estimate
    gain: Estimate
    lead: Estimate | None
    free: Tensor

    @property
    def optimisation(self) -> dict[str, Estimate]:
        """What there is to judge the optimisation error by."""
        found = {"gained in the second round of the ascent": self.gain}
        return found if self.lead is None else found | {"above the best other start": self.lead}

    @classmethod
    def join(cls, parts: list[Ascent]) -> Ascent:
        """The ascent of all data from those of consecutive blocks."""
        best, evidence, gain = (Estimate.join([getattr(p, n) for p in parts]) for n in ("best", "evidence", "gain"))
        leads = [part.lead for part in parts if part.lead is not None]
        return cls(best, evidence, gain, Estimate.join(leads) if leads else None, torch.cat([p.free for p in parts]))


def unknown_family(guide: Program, x: Any) -> str | None:
    """Why the members of a guide's family cannot be gone through, naming the site; None if they can."""
    sites = guide_sites(guide, (x[:2],))
    if not all(site.independent for site in sites):
        names = ", ".join(repr(site.name) for site in sites)
        return f"the family of a guide whose sites {names} depend on each other is not known"
    with kept_random_state(), evaluating(guide):
        drawn = latents(run(guide, (x[:2],), {}, draws=1))
    for name, site in drawn.items():
        family = Latent.of(name, site["fn"]).family
        if family not in FAMILIES:
            return f"the family of site {name!r} of the guide, {family}, is none of {', '.join(FAMILIES)}"
    return None


def best_member(
    model: Program,
    guide: Program,
    x: Any,
    *,
    steps: int = 600,
    draws: int = 200,
    restarts: int = 4,
    rate: float = 0.1,
    step_draws: int = 2,
    estimator: Estimator | str = "auto",
    progress: Callable[[int], None] | None = None,
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
            normal.
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
        >>> import pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        >>> found = best_member(model, guide, torch.tensor([2.0]), restarts=1)
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
    reason = unknown_family(guide, x)
    if reason is not None:
        raise ValueError(reason)
    estimator = make_estimator(estimator) if isinstance(estimator, str) else estimator
    tick = progress or (lambda cells: None)
    parts = []
    width = x.vocabulary if isinstance(x, PackedCounts) else x[0].numel()
    block = max(1, min(DATA, CELLS // width // 8))  # what log_weights takes in one piece
    for start in range(0, len(x), block):
        part = x[start : start + block]
        climb = _Climb(model, guide, part, restarts, draws)
        with evaluation_mode(model), frozen(model):
            climb.ascend(steps, rate, step_draws, estimator, tick)
        with evaluating(model):
            parts.append(climb.result(steps))
    return Ascent.join(parts)


class _Climb:
    """The ascents of one block of data."""

    def __init__(self, model: Program, guide: Program, x: Any, restarts: int, draws: int) -> None:
        self.model, self.x, self.draws = model, x, draws
        with evaluating(model, guide):
            proposed = latents(run(guide, (x,), {}, draws=1))
            prior = latents(run(model, (x,), {}, draws=PRIOR_DRAWS))
            check_cover(prior, proposed)
            self.latents = [Latent.of(name, site["fn"]) for name, site in proposed.items()]
            own = [parameters_of(latent, proposed[latent.name]["fn"])[0] for latent in self.latents]
            others = [
                torch.cat([_start(latent, prior[latent.name]["value"], k) for latent in self.latents], -1)
                for k in range(restarts - 1)
            ]
        self.own = torch.cat(own, -1)
        self.starts = torch.stack([self.own, *(start.to(self.own) for start in others)])
        self.rounds: list[Tensor] = []

    def ascend(
        self,
        steps: int,
        rate: float,
        step_draws: int,
        estimator: Estimator,
        tick: Callable[[int], None],
    ) -> None:
        """Two rounds, the second from where the first ended and finer; the mean of its last iterates ends each."""
        count, data = self.starts.shape[:2]
        free = FreeGuide(self.latents, self.starts.flatten(0, 1))
        x = self.x[torch.arange(data, device=self.own.device).repeat(count)]
        estimator, _ = fit_estimator(estimator, guide_sites(free, (x,)), self.model, x)
        objective = DiscreteELBO(estimator, draws=max(step_draws, estimator.least_draws))
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
        found = Estimate(value.pointwise, method, "lower", value.draws, value.pointwise_se)
        lead = None
        if len(self.starts) > 1:
            scores[0], scores[chosen, rows] = -torch.inf, -torch.inf
            lead = value.minus(self._value(after[scores.argmax(0), rows]).elbo)
        return Ascent(
            found, self._value(best).evidence, value.minus(self._value(before[chosen, rows]).elbo), lead, best
        )

    def _value(self, free: Tensor) -> Measurement:
        """Of members with these parameters, ``(data, parameters)``, each time from fresh draws."""
        pieces = log_weights(self.model, FreeGuide(self.latents, free), self.x, self.draws)
        return Measurement.join([from_log_weights(w, distinct) for w, distinct in pieces])


def _start(latent: Latent, drawn: Tensor, which: int) -> Tensor:
    """Parameters ``(data, parameters)`` with the moments of prior draws ``(draws, data, *event)``.

    After the first, which is the prior itself, half-way to one draw: mean half-way, deviation half as wide.
    """
    if latent.family == "categorical":
        drawn = functional.one_hot(drawn.long(), latent.states).to(torch.get_default_dtype())
    mean = drawn.mean(0) if which == 0 else (drawn.mean(0) + drawn[which]) / 2
    if latent.family == "Bernoulli":
        parts = [mean.clamp(0.02, 0.98).logit()]
    elif "categorical" in latent.family:
        parts = [mean.clamp(min=0.1 / latent.states).log()]
    else:
        parts = [mean, drawn.std(0).log() - (0.7 if which else 0)]
    if latent.family == "multivariate normal":
        parts.append(mean.new_zeros(len(mean), latent.size * (latent.size - 1) // 2))
    return torch.cat([part.reshape(len(mean), -1) for part in parts], -1)

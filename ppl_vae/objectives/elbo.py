"""The evidence lower bound as a Pyro objective, with gradients through discrete sites."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from math import prod
from typing import Any, Literal, get_args

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from ppl_vae.distributions.shapes import side_by_side
from ppl_vae.estimators.base.continuity import check_continuous
from ppl_vae.estimators.base.estimator import Code, Estimator
from ppl_vae.objectives.base import NonFiniteError
from ppl_vae.objectives.choice import Auto, fit_estimator, lists_for_all, make_estimator, refusal
from ppl_vae.objectives.divergence import Rate, closed_rates
from ppl_vae.objectives.flip_differences import knows_flip_differences
from ppl_vae.objectives.integrand import PairIntegrand, mean_over_rows
from ppl_vae.objectives.pair_runs import PairRuns
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.objectives.rate_distortion import RateDistortionObjective
from ppl_vae.objectives.sampling import EstimatorDraws
from ppl_vae.programs.arguments import one_batch
from ppl_vae.programs.handlers import latents, log_prob
from ppl_vae.programs.sites import PairSites
from ppl_vae.programs.types import Program

__all__ = ["DiscreteELBO", "NonFiniteError"]


class DiscreteELBO(RateDistortionObjective):
    r"""The evidence lower bound, with a chosen estimator of the gradient through discrete sites.

    .. math:: \mathcal{L} = \mathbb{E}_{q(z \mid x)}[\log p(x, z) - \log q(z \mid x)] = -(D + R)

    or, with another cost h of the rate R, :math:`-(D + h(R))`: see :class:`~ppl_vae.objectives.rate_cost.RateCost`.
    Its gradient is that of the bound with the log-densities of all latents, under model and guide, scaled by
    :math:`\beta = h'(R)`.

    The value is that of the draws (or exact, with ``enumerate``), but for rates in closed form. The gradient is that of
    one surrogate: pathwise for the parameters of the model and for reparameterised sites of the guide, the estimator's
    for the discrete ones. It works in a user's own ``pyro.infer.SVI`` loop, and as the module ``objective(model,
    guide)`` whose call returns the loss, the negative ELBO summed over the batch.

    Arguments:
        estimator: An :class:`~ppl_vae.estimators.Estimator`, or the name or file of one; ``"auto"`` chooses by the
            pair. As on the command line, one by name that cannot serve the pair is replaced by the best that can, and
            takes as many draws as it needs; a warning says so.
        draws: Number of independent draws per datum; antithetic estimators evaluate a pair for each.
        beta: The weight of the rate, or the whole :class:`~ppl_vae.objectives.rate_cost.RateCost`. One that is
            annealed needs ``objective.epoch`` set before each step.
        kl: How the rate of a pair without discrete sites is taken: in closed form where there is one
            (:func:`~ppl_vae.objectives.divergence.closed_rates`), which leaves the noise of the distortion alone, or
            from the draws.
        control: Control variate of an estimator given by name; None is ``"first_order"`` where estimator and guide take
            it.

    Raises:
        ValueError: On the first step, naming the site, if the estimator given cannot serve a site of the guide, or none
            can; if model and guide do not have the same latents; or if a cost that is no multiple of the rate meets a
            pair whose sites do not all lie in one plate, unscaled and unmasked.
        NonFiniteError: If the loss is not finite, naming the site.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Bernoulli(0.5))
        ...         pyro.sample("x", dist.Normal(2 * z, 1), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Bernoulli(logits=2 * x - 2))
        >>> x = torch.tensor([0.0, 3.0])
        >>> round(DiscreteELBO("enumerate").loss(model, guide, x), 4)  # the guide is the posterior
        3.5791
    """

    learned_of_pairs = ("_structure", "estimator", "_shared", "_knows_flips", "_continuous")

    def __init__(
        self,
        estimator: Estimator | str = "auto",
        draws: int = 1,
        beta: float | RateCost = 1.0,
        kl: Rate = "closed_form",
        control: Literal["first_order", "none"] | None = None,
        **options: object,
    ) -> None:
        super().__init__(draws, beta, **options)
        if kl not in get_args(Rate):
            raise ValueError(f"unknown kl {kl!r}; choose from {', '.join(get_args(Rate))}")
        self.kl = kl
        self._control = None if control is None else control == "first_order"
        self.estimator = make_estimator(estimator, self._control) if isinstance(estimator, str) else estimator
        self._replaceable = estimator if isinstance(estimator, str | Auto) else None
        self._structure = PairSites([], 0)
        self._shared = False
        self._knows_flips: bool | None = None
        self._continuous = False

    def _probe(self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Learns the plates and the guide's sites, once per pair."""
        if self._knows(model, guide, args, kwargs):
            return
        self._structure = PairSites.learn(model, guide, args, kwargs)
        sites = self._structure.sites
        one_plate = self._structure.plates == 1
        if self._replaceable is not None:
            known = model if one_plate else None
            fitted, line = fit_estimator(self._replaceable, sites, known, args, kwargs, self._control)
            if fitted.name != self.estimator.name:  # else it keeps what it has learned
                self.estimator = fitted
            if line is not None:
                warnings.warn(line, stacklevel=2)
        elif (reason := refusal(self.estimator, sites)) is not None:
            raise ValueError(reason)
        self._knows_flips, self._continuous = None, False
        self._shared = self.estimator.exact and one_plate and lists_for_all(model, sites, args, kwargs)
        self._know(model, guide, args, kwargs)

    @property
    def is_stationary(self) -> bool:
        return super().is_stationary and not self.estimator.without_control.state

    def after_step(self) -> None:
        super().after_step()
        self.estimator.without_control.after_step()

    @property
    def state(self) -> dict[str, float]:
        return super().state | self.estimator.without_control.state

    @state.setter
    def state(self, values: dict[str, float]) -> None:
        RateDistortionObjective.state.fset(self, values)  # type: ignore[attr-defined]
        self.estimator.without_control.state = values

    def _knows_flip_differences(self, runs: PairRuns) -> bool:
        """Whether one run of the model gives all flip differences; cached per pair."""
        if self._knows_flips is None:
            one_plate, sites = self._structure.plates == 1, self._structure.sites
            self._knows_flips = one_plate and knows_flip_differences(runs.model, sites, runs.args, runs.kwargs)
        return self._knows_flips

    def _rows(self) -> int:
        if not any(site.discrete for site in self._structure.sites):
            return self.draws
        if self.estimator.exact:
            return prod(site.states for site in self._structure.sites if site.discrete)
        rows = self.estimator.rows(self._draws)
        if self.estimator.without_replacement:
            number, states = next(site.parts for site in self._structure.sites if site.parts)
            rows = min(rows, int(states**number))
        return rows

    @property
    def _draws(self) -> int:
        return self.draws if self._replaceable is None else max(self.draws, self.estimator.least_draws)

    def differentiable_loss(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Tensor:
        """D + h(R), the negative ELBO by default, summed over a batch, in nats, with the gradient of the estimator."""
        args, kwargs = one_batch(model, args, kwargs)
        self._probe(model, guide, args, kwargs)
        estimator, rows = self.estimator, self._rows()
        runs = PairRuns(model, guide, args, kwargs, self._structure)
        drawn = EstimatorDraws(estimator, self._structure.sites, self._draws, self._shared)
        proposed = runs.run_guide(drawn, rows)
        scored = runs.run_model(proposed.values_of_latents(), rows)
        proposed = runs.masked(proposed)

        discrete = {s.name: proposed[s.name] for s in self._structure.sites if s.discrete}
        by_logits = bool(drawn.codes) and len(drawn.codes) == len(discrete)
        # Scores have mean zero: only an estimator that weighs them needs the gradient of log q. It weighs and
        # differentiates probabilities as they are, raw; only f is scaled and masked.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not by_logits):
            raw = {n: log_prob(s, raw=True) for n, s in discrete.items()}
            log_q, _ = self._structure.sum(discrete, raw)
        constant = log_q.detach()
        # The rate takes the place of log p(z), and zero that of log q(z | x).
        closed = closed_rates(proposed, scored) if self.kl == "closed_form" and not discrete else {}
        prior = {n: -closed[n] if n in closed else log_prob(s) for n, s in latents(scored).items()}
        guided = {n: torch.zeros(()) if n in closed else log_prob(s) for n, s in proposed.items() if n not in discrete}
        guided |= {n: scale_and_mask(v.detach(), discrete[n]["scale"], discrete[n]["mask"]) for n, v in raw.items()}
        weights = estimator.weights(constant) if discrete else None
        rates = self._rates(prior, guided, proposed, weights, rows)
        cost, betas = self.penalty(rates, scored, proposed)

        code = Code.cat(drawn.codes.values()) if by_logits else None
        knows = partial(self._knows_flip_differences, runs)
        f = PairIntegrand(runs, proposed, scored, discrete, rows, prior, guided, betas, weights, code, knows)
        differentiated = bool(discrete) and torch.is_grad_enabled()
        if code is not None and estimator.between_bits and differentiated and not self._continuous:
            check_continuous(code.detach(), f, estimator.name)
            self._continuous = True
        # Before the bound, so that a likelihood that knows its flip differences computes them along with its values.
        gradient = estimator.gradient(code.detach(), f) if code is not None and differentiated else None
        if (estimator.exact or estimator.without_replacement) and discrete and f.log_weights[1].ndim:
            raise ValueError(
                f"{estimator.name} needs every site of the pair inside the plate of the discrete sites; use loo"
            )
        bound = f.bound
        priced = sum(betas[name] * rate for name, rate in rates.items())
        self.batch_metrics = {"rate": sum(rates.values(), torch.zeros(())), "distortion": -bound.detach() - priced}
        # A cost that is no multiple of the rate has its own value; the gradient has the betas' already.
        offset = 0.0 if cost is None else cost - priced
        if not differentiated:
            return -bound + offset if cost is not None else -bound

        surrogate = f.pathwise
        if gradient is not None:
            surrogate = surrogate + (gradient * side_by_side(list(drawn.logits.values()))).sum()
        else:
            surrogate = surrogate + (estimator.score_weights(f.values, constant) * log_q).sum()
        loss = -(bound.detach() + surrogate - surrogate.detach())
        return loss if cost is None else loss + offset

    def _rates(
        self,
        prior: Mapping[str, Tensor],
        guided: Mapping[str, Tensor],
        proposed: Mapping[str, Any],
        weights: Tensor | None,
        rows: int,
    ) -> dict[str, Tensor]:
        """The rate of each latent site, summed over the batch, by the same draws as the bound."""
        rates = {}
        with torch.no_grad():
            for name, log_p in prior.items():
                local, other = self._structure.sum({name: proposed[name]}, {name: guided[name] - log_p})
                rates[name] = mean_over_rows(local, other, weights, rows)
        return rates

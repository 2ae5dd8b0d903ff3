"""What is maximised: bounds on the evidence, as Pyro objectives with gradients through discrete sites."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import pyro
import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from ppl_vae.distributions import exponential_family
from ppl_vae.estimators import Auto, Code, DisARM, Estimator, FirstOrder, bit_flips
from ppl_vae.nn.modes import evaluating, evaluation_mode, frozen, is_capturing
from ppl_vae.objectives.base import NonFiniteError, blame
from ppl_vae.objectives.bit_gains import known_flip_differences, knows_flip_differences, scaled_logits
from ppl_vae.objectives.choice import fit_estimator, make_estimator, refusal
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.objectives.rate_distortion import Betas, RateDistortionObjective, scaled_sites
from ppl_vae.objectives.sampling import EstimatorDraws
from ppl_vae.programs.handlers import SubstituteLatents, latents, log_prob, run, shares_codes
from ppl_vae.programs.sites import PairSites
from ppl_vae.programs.types import Program

__all__ = ["DiscreteELBO", "NonFiniteError"]


class DiscreteELBO(RateDistortionObjective):
    r"""The evidence lower bound, with a chosen estimator of the gradient through discrete sites.

    .. math:: \mathcal{L} = \mathbb{E}_{q(z \mid x)}[\log p(x, z) - \log q(z \mid x)] = -(D + R)

    or, with another cost h of the rate R, :math:`-(D + h(R))`: see :class:`~ppl_vae.objectives.rate_cost.RateCost`.
    Its gradient
    is that of the bound with the log-densities of all latents, under model and guide, scaled by :math:`\beta = h'(R)`.

    The value is that of the draws (or exact, with :class:`~ppl_vae.estimators.Enumerate`); the gradient is that
    of one surrogate: pathwise for the parameters of the model and for reparameterised sites of the guide, the
    estimator's for the discrete ones. It works in a user's own ``pyro.infer.SVI`` loop, and as the module
    ``objective(model, guide)`` whose call returns the loss, the negative ELBO summed over the batch.

    Arguments:
        estimator: An :class:`~ppl_vae.estimators.Estimator`, or the name of one, which then comes with the
            first-order control variate where it takes one; ``"auto"`` chooses by the pair.
        draws: Independent draws a datum; antithetic estimators evaluate a pair for each.
        beta: The weight of the rate, or the whole :class:`~ppl_vae.objectives.rate_cost.RateCost`. One that is
            annealed needs ``objective.epoch`` set before each step.

    Raises:
        ValueError: On the first step, naming the site, if the guide has sites the estimator cannot serve, if
            model and guide do not have the same latents, or if a cost that is no multiple of the rate meets a pair
            whose sites do not all lie in one plate, unscaled and unmasked.
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

    def __init__(
        self,
        estimator: Estimator | str = "auto",
        draws: int = 1,
        beta: float | RateCost = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(draws, beta, **options)
        self.estimator = make_estimator(estimator) if isinstance(estimator, str) else estimator
        self._chooses = isinstance(self.estimator, Auto)
        self._structure = PairSites([], 0)
        self._shared = False
        self._knows_gains = False

    def _probe(self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Learns the plates and the guide's sites, once a pair."""
        if self._knows(model, guide):
            return
        self._structure, traced = PairSites.learn(model, guide, args, kwargs)
        sites = self._structure.sites
        one_plate = self._structure.plates == 1
        if self._chooses:
            chosen, line = fit_estimator(Auto(), sites, model if one_plate else None, *args, **kwargs)
            self.estimator = FirstOrder(DisARM()) if line else chosen
        reason = refusal(self.estimator, sites)
        if reason is not None:
            raise ValueError(reason)
        self._knows_gains = (
            self.estimator.needs == "gains" and one_plate and knows_flip_differences(model, sites, args, kwargs)
        )
        sizes = [size for s in traced.values() for size in s["fn"].batch_shape]
        # A site that depends on others has the guide, too, work on their codes.
        self._shared = (
            self.estimator.exact
            and one_plate
            and min(sizes, default=0) > 1
            and all(site.discrete and site.independent for site in sites)
            and self._shares_codes(model, {site.name: traced[site.name]["fn"] for site in sites}, args, kwargs)
        )
        self._probed = (model, guide)

    def _shares_codes(
        self, model: Program, families: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bool:
        def score(values: Mapping[str, Tensor]) -> Tensor:
            scored = run(model, args, kwargs, draws=len(next(iter(values.values()))), handler=SubstituteLatents(values))
            return self._structure.sum(scored)[0]

        with evaluating(model):
            return shares_codes(score, families)

    def _rows(self) -> int:
        if not any(site.discrete for site in self._structure.sites):
            return self.draws
        if self.estimator.exact:
            return prod(site.states for site in self._structure.sites if site.discrete)
        return self.estimator.rows(self.draws)

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """D + h(R), the negative ELBO by default, summed over a batch, in nats, with the gradient of the estimator."""
        self._probe(model, guide, args, kwargs)
        estimator, rows = self.estimator, self._rows()
        codes = EstimatorDraws(estimator, self._structure.sites, self.draws, self._shared)
        proposed = run(guide, args, kwargs, draws=rows, plates=self._structure.plates, handler=codes)
        values = proposed.values_of_latents()
        scored = run(model, args, kwargs, draws=rows, plates=self._structure.plates, handler=SubstituteLatents(values))

        discrete = {s.name: proposed[s.name] for s in self._structure.sites if s.discrete}
        pathwise = {n: s for n, s in proposed.items() if n not in discrete}
        by_logits = bool(codes.codes) and len(codes.codes) == len(discrete)
        # Scores have mean zero: only an estimator that weighs them needs the gradient of log q. It weighs and
        # differentiates probabilities as they are, raw; only f is scaled and masked.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not by_logits):
            drawn = {n: log_prob(s, raw=True) for n, s in discrete.items()}
            log_q, _ = self._structure.sum(discrete, drawn)
        constant = log_q.detach()
        prior = {n: log_prob(s) for n, s in latents(scored).items()}
        guided = {n: log_prob(s) for n, s in pathwise.items()}
        guided |= {n: scale_and_mask(v.detach(), discrete[n]["scale"], discrete[n]["mask"]) for n, v in drawn.items()}
        weights = estimator.weights(constant) if discrete else None
        rates = self._rates(prior, guided, proposed, weights, rows)
        cost, betas = self.penalty(rates, scored, proposed)

        # One run of the likelihood gives its values and, where it knows them, its gains.
        gaining = self._knows_gains and torch.is_grad_enabled()
        known = known_flip_differences(scaled_sites(scored, betas), discrete) if gaining else None
        model_local, model_other = self._structure.sum(scored, prior | (known.log_prob if known else {}), betas)
        guide_local, guide_other = self._structure.sum(pathwise, guided, betas)
        path = model_local - guide_local
        other = model_other - guide_other
        f = path - self._structure.sum(discrete, guided, betas)[0]
        if estimator.exact and discrete and other.ndim:
            raise ValueError("enumerate needs every site of the pair inside the plate of the discrete sites; use loo")
        weighted = f / rows if weights is None else weights * f
        bound = weighted.sum() + other.sum() / rows
        if not is_capturing() and not bound.isfinite():
            raise NonFiniteError(blame(scored, proposed))
        priced = sum(betas[name] * rate for name, rate in rates.items())
        self.seen = {"rate": sum(rates.values(), torch.zeros(())), "distortion": -bound.detach() - priced}
        # A cost that is no multiple of the rate has its own value; the gradient has the betas' already.
        offset = 0.0 if cost is None else cost - priced
        if not discrete or not torch.is_grad_enabled():
            return -bound + offset if cost is not None else -bound

        signal = (f + other).detach()
        surrogate = self._pathwise(f, other, bound)
        if by_logits:
            parts = ("bits", "noise", "logits")
            code = Code(*(torch.cat([getattr(c, part) for c in codes.codes.values()], -1) for part in parts))
            fixed = Code(code.bits, code.noise, code.logits.detach())
            if estimator.needs == "gains":
                if known is None:
                    now = (model_local + model_other).detach()
                    rises = self._gains(model, args, kwargs, now, fixed.bits, values, betas)
                else:
                    rises = torch.cat([known.gains[name] for name in codes.codes], -1)
                gradient = estimator.gradient(rises.detach() - scaled_logits(scaled_sites(discrete, betas)), fixed)
            elif isinstance(estimator, FirstOrder):
                gradient = estimator.gradient(
                    signal, fixed, self._slope(model, guide, args, kwargs, discrete, proposed.indices, betas)
                )
            else:
                gradient = estimator.gradient(signal, fixed)
            if estimator.needs == "slopes":
                gradient = gradient - estimator.from_slopes(
                    scaled_logits(scaled_sites(discrete, betas)).expand_as(fixed.bits), fixed
                )
            surrogate = surrogate + (gradient * code.logits).sum()
        else:
            surrogate = surrogate + (estimator.score_weights(signal, constant) * log_q).sum()
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
        found = {}
        with torch.no_grad():
            for name, log_p in prior.items():
                local, other = self._structure.sum({name: proposed[name]}, {name: guided[name] - log_p})
                found[name] = (local / rows if weights is None else weights * local).sum() + other.sum() / rows
        return found

    def _pathwise(self, f: Tensor, other: Tensor, bound: Tensor) -> Tensor:
        """Zero, with the gradient of the bound along the draws; of as many as the estimator asks for."""
        if not bound.requires_grad:
            return torch.zeros_like(bound)
        graded = self.estimator.graded(len(f))
        if graded < len(f) and all(site.kind == "bits" and site.independent for site in self._structure.sites):
            bound = f[:graded].sum() / graded + (other[:graded].sum() / graded if other.ndim else other)
        return bound - bound.detach()

    def _slope(
        self,
        model: Program,
        guide: Program,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        bits: Mapping[str, Any],
        indices: dict[str, Tensor],
        betas: Betas,
    ) -> Tensor:
        """Gradient of log p(x, z) - log q(z) for the bits, at their means, ``(*plates, bits)``."""
        logits = {n: exponential_family.bit_logits(site["fn"])[0].detach() for n, site in bits.items()}  # type: ignore[index]
        means = {n: p.sigmoid().reshape(1, *bits[n]["fn"].shape()[1:]).requires_grad_() for n, p in logits.items()}
        with pyro.validation_enabled(False), torch.enable_grad(), frozen(model), evaluation_mode(model, guide):
            values, total = means | indices, torch.zeros(())
            if len(bits) < len(self._structure.sites):
                proposed = run(
                    guide, args, kwargs, draws=1, plates=self._structure.plates, handler=SubstituteLatents(values)
                )
                values = proposed.values_of_latents()
                parts = self._structure.sum({n: s for n, s in proposed.items() if n not in bits}, betas=betas)
                total = total - sum(part.sum() for part in parts)
            try:
                scored = run(
                    model, args, kwargs, draws=1, plates=self._structure.plates, handler=SubstituteLatents(values)
                )
                total = total + sum(part.sum() for part in self._structure.sum(scored, betas=betas))
                slopes = torch.autograd.grad(total, list(means.values()), materialize_grads=True)
            except (ValueError, RuntimeError, IndexError, TypeError) as error:
                raise ValueError(
                    f"the first-order control variate evaluates the model at bits between 0 and 1 "
                    f"(sites {list(bits)}), which it refuses: {error}; use an estimator without it (--control none)"
                ) from error
        own = [slope.reshape(logits[name].shape) for name, slope in zip(bits, slopes, strict=True)]
        return torch.cat(own, -1) - scaled_logits(scaled_sites(bits, betas))

    def _gains(
        self,
        model: Program,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        log_joint: Tensor,
        bits: Tensor,
        values: dict[str, Tensor],
        betas: Betas,
    ) -> Tensor:
        """What log p(x, z) rises by as one bit goes from 0 to 1, ``(rows, *plates, bits)``: the model runs for each."""
        sites, size = [site for site in self._structure.sites if site.discrete], bits.shape[-1]
        others = {site.name: values[site.name] for site in self._structure.sites if not site.discrete}
        fixed = values | {
            n: v.expand(len(bits), *v.shape[1:]).repeat(size, *[1] * (v.ndim - 1)) for n, v in others.items()
        }
        for site, part in zip(
            sites, bit_flips(bits).flatten(0, 1).split([site.size for site in sites], -1), strict=True
        ):
            fixed[site.name] = part.reshape(-1, *values[site.name].shape[1:])
        with torch.no_grad():
            scored = run(
                model,
                args,
                kwargs,
                draws=size * len(bits),
                plates=self._structure.plates,
                handler=SubstituteLatents(fixed),
            )
            local, other = self._structure.sum(scored, betas=betas)
        change = (local + other).unflatten(0, (size, len(bits))) - log_joint
        gains: Tensor = (1 - 2 * bits) * change.reshape(size, *bits.shape[:-1]).movedim(0, -1)
        return gains

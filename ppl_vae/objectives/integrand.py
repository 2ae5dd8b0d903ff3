"""The integrand of a pair, log p(x, z) - log q(z | x) at the draws of one step, computed as estimators read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ppl_vae.distributions import state_tables
from ppl_vae.distributions.bits import bit_flips
from ppl_vae.distributions.sampled_words import sampling_words
from ppl_vae.distributions.shapes import side_by_side
from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.base.integrand import Integrand, check_slopes
from ppl_vae.estimators.base.states import parts, switched_values
from ppl_vae.nn.modes import is_capturing
from ppl_vae.objectives.base import NonFiniteError, blame
from ppl_vae.objectives.flip_differences import (
    KnownFlipDifferences,
    known_flip_differences,
    scaled_log_probabilities,
    scaled_logits,
)
from ppl_vae.objectives.pair_runs import PairRuns
from ppl_vae.objectives.rate_distortion import Betas, scaled_sites
from ppl_vae.programs.handlers import Sites, SubstituteLatents

__all__ = ["PairIntegrand", "mean_over_rows"]


@dataclass(eq=False)
class PairIntegrand(Integrand):
    r"""f = log p(x, z) - log q(z | x) at the draws of one step, its latents weighted by their betas.

    Arguments:
        runs: Model and guide.
        proposed: Sites of the guide at the draws.
        scored: Sites of the model at the draws.
        discrete: The discrete ones among the guide's sites.
        rows: Number of draws.
        prior: Log-densities of the latents under the model by site.
        guided: Log-densities of the latents under the guide by site, those of discrete ones outside any graph.
        betas: Weights of the latents' log-densities by site.
        weights: Weight of each draw in an average, ``(rows, *plates)``; None is their mean.
        code: The bits or states drawn, where an estimator drew all discrete sites by their logits.
        knows_flip_differences: Whether one run of the model tells its flip differences.
    """

    runs: PairRuns
    proposed: Sites
    scored: Sites
    discrete: Mapping[str, Any]
    rows: int
    prior: Mapping[str, Tensor]
    guided: Mapping[str, Tensor]
    betas: Betas
    weights: Tensor | None
    code: Code | None
    knows_flip_differences: Callable[[], bool]

    @property
    def values(self) -> Tensor:
        # A bound that is not finite is reported before anything is made of it.
        self.bound  # noqa: B018
        return self._values

    @cached_property
    def _values(self) -> Tensor:
        return _together(*self.log_weights).detach()

    @cached_property
    def log_weights(self) -> tuple[Tensor, Tensor]:
        """Log-weights with their pathwise gradient: ``(rows, *plates)``, and ``(rows,)`` outside the bits' plates."""
        structure = self.runs.structure
        model, model_other = self._log_joint
        others = {n: s for n, s in self.proposed.items() if n not in self.discrete}
        if others:
            path, path_other = structure.sum(others, self.guided, self.betas)
            model, model_other = model - path, model_other - path_other
        if self.discrete:
            model = model - structure.sum(self.discrete, self.guided, self.betas)[0]
        return model, model_other

    @cached_property
    def bound(self) -> Tensor:
        """Mean of the log-weights over draws, summed over the batch, with its pathwise gradient.

        Raises:
            NonFiniteError: If it is not finite, naming the site.
        """
        bound = mean_over_rows(*self.log_weights, self.weights, self.rows)
        if not is_capturing() and not math.isfinite(bound.item()):
            raise NonFiniteError(blame(self.scored, self.proposed))
        return bound

    @property
    def pathwise(self) -> Tensor:
        """Zero, with the gradient of the bound along the draws, or along those that the code names."""
        bound, (local, other) = self.bound, self.log_weights
        if not bound.requires_grad:
            return torch.zeros_like(bound)
        count = self.code.differentiated if self.code is not None else None
        sites = self.runs.structure.sites
        if count is not None and all(site.kind == "bits" and site.independent for site in sites):
            bound = local[:count].sum() / count
            bound = bound + other[:count].sum() / count if other.ndim else bound
        return bound - bound.detach()

    @cached_property
    def slopes(self) -> Tensor:
        """Those of -log q. Those of log p arrive in the backward pass.

        :class:`ppl_vae.objectives.sampling.EstimatorDraws` adds them.
        """
        assert self.code is not None
        check_slopes(self.code)
        return -self._guide_slope.expand(self.code.bits.shape)

    @cached_property
    def slope_at_mean(self) -> Tensor:
        bits, structure, runs = self.discrete, self.runs.structure, self.runs
        means = {n: state_tables.mean(site["fn"]).detach().requires_grad_() for n, site in bits.items()}
        with runs.between_bits(), sampling_words():
            values, parts = means | self.proposed.indices, list[Tensor]()
            if len(bits) < len(structure.sites):
                proposed = runs.run_guide(SubstituteLatents(values), 1)
                values = proposed.values_of_latents()
                others = {n: s for n, s in proposed.items() if n not in bits}
                parts += [-part for part in structure.sum(others, betas=self.betas)]
            who = "the first-order control variate", "use an estimator without it (--control none)"
            _, slopes = runs.slopes_between(values, means, 1, self.betas, *who, parts)
        by_site = [slope.reshape(*self._guide_slope.shape[:-1], -1) for slope in slopes]
        if self._of_states:
            is_bits = [state_tables.is_bits(site["fn"]) for site in bits.values()]
            of_zeros = [torch.stack([torch.zeros_like(s), s], -1).flatten(-2) for s in by_site]
            by_site = [pair if b else s for b, pair, s in zip(is_bits, of_zeros, by_site, strict=True)]
        return side_by_side(by_site) - self._guide_slope

    def relaxed(self, bits: Tensor) -> tuple[Tensor, Tensor]:
        assert self.code is not None
        self._need_independent_latents("relaxed")
        relaxed = {name: part.detach().requires_grad_() for name, part in self._by_site(bits).items()}
        values = self.proposed.values_of_latents() | relaxed
        who = "the estimator", "use one that draws zeros and ones (--estimator disarm --control none)"
        with self.runs.between_bits():
            joint, slopes = self.runs.slopes_between(values, relaxed, self.rows, self.betas, *who)
        other_terms = self.values - _together(*self._log_joint).detach()
        moved = ((bits - self.code.bits) * self._guide_slope).sum(-1)
        slope = side_by_side([part.reshape(*bits.shape[:-1], -1) for part in slopes])
        return _together(*joint).detach() + other_terms - moved, slope - self._guide_slope

    @cached_property
    def switched_values(self) -> Tensor:
        assert self.code is not None
        indicators, groups = self.code.bits, self.code.groups

        def log_joint(switched: Tensor) -> Tensor:
            pieces = [part.argmax(-1) for part in parts(switched, groups)]
            return self._log_joint_at(
                {
                    name: state_tables.values_of_states(site["fn"], piece)
                    for (name, site), piece in zip(self.discrete.items(), pieces, strict=True)
                },
                len(switched) // len(indicators),
            )

        now = _together(*self._log_joint).detach()
        return switched_values(log_joint, indicators, groups, now) - self._guide_slope

    @cached_property
    def flip_differences(self) -> Tensor:
        self._need_independent_latents("flip_differences")
        if self._known is None:
            differences = self._of_flipped_codes()
        else:
            differences = side_by_side([self._known.flip_differences[name] for name in self.discrete])
        return differences.detach() - self._guide_slope

    @cached_property
    def _guide_slope(self) -> Tensor:
        """Slope of log q for the bits or states, the same at every draw, ``(*plates, bits)``."""
        sites = scaled_sites(self.discrete, self.betas)
        return scaled_log_probabilities(sites) if self._of_states else scaled_logits(sites)

    @property
    def _of_states(self) -> bool:
        return self.code is not None and bool(self.code.groups)

    @cached_property
    def _known(self) -> KnownFlipDifferences | None:
        """One run of the likelihood gives its values and, where it knows them, its flip differences."""
        if not self.knows_flip_differences():
            return None
        return known_flip_differences(scaled_sites(self.scored, self.betas), self.discrete)

    @cached_property
    def _log_joint(self) -> tuple[Tensor, Tensor]:
        """log p(x, z) in the plates of the bits, and outside."""
        known = vars(self).get("_known")
        log_probs = {**self.prior, **(known.log_prob if known is not None else {})}
        return self.runs.structure.sum(self.scored, log_probs, self.betas)

    def _need_independent_latents(self, what: str) -> None:
        if dependent := [site.name for site in self.runs.structure.sites if not site.independent]:
            raise ValueError(
                f"f.{what} flips bits with all other latents fixed, but site {dependent[0]!r} depends on others; "
                "declare independent_latents = True in the estimator"
            )

    def _by_site(self, bits: Tensor) -> dict[str, Tensor]:
        """Bits side by side, ``(rows, *plates, bits)``, as values of the sites."""
        sites, values = [site for site in self.runs.structure.sites if site.discrete], self.proposed
        by_site = zip(sites, bits.split([site.size for site in sites], -1), strict=True)
        return {site.name: part.reshape(-1, *values[site.name]["value"].shape[1:]) for site, part in by_site}

    def _of_flipped_codes(self) -> Tensor:
        """Flip differences of log p(x, z), ``(rows, *plates, bits)``: the model runs for each bit."""
        assert self.code is not None
        bits = self.code.bits
        now, size = _together(*self._log_joint).detach(), bits.shape[-1]
        codes = self._by_site(bit_flips(bits).flatten(0, 1))
        change = self._log_joint_at(codes, size).unflatten(0, (size, len(bits))) - now
        differences: Tensor = (1 - 2 * bits) * change.reshape(size, *bits.shape[:-1]).movedim(0, -1)
        return differences

    def _log_joint_at(self, codes: dict[str, Tensor], copies: int) -> Tensor:
        """log p(x, z) at other values of the discrete sites, so many of every draw, ``(copies * rows, *plates)``."""
        structure, values = self.runs.structure, self.proposed.values_of_latents()
        others = {site.name: values[site.name] for site in structure.sites if not site.discrete}
        repeated = {n: v.expand(self.rows, *v.shape[1:]).repeat(copies, *[1] * (v.ndim - 1)) for n, v in others.items()}
        with torch.no_grad():
            scored = self.runs.run_model(values | repeated | codes, copies * self.rows)
            return _together(*structure.sum(scored, betas=self.betas))


def mean_over_rows(local: Tensor, other: Tensor, weights: Tensor | None, rows: int) -> Tensor:
    """Mean over draws of values in the plates of the bits, ``(rows, *plates)``, and outside, summed over the batch.

    Arguments:
        local: Those in the plates.
        other: Those outside, ``(rows,)``; a single number is nothing.
        weights: Weight of each draw in an average, ``(rows, *plates)``; None is their mean.
        rows: Number of draws.
    """
    total = (local / rows if weights is None else weights * local).sum()
    return total + other.sum() / rows if other.ndim else total


def _together(local: Tensor, other: Tensor) -> Tensor:
    return local + other if other.ndim else local

"""The integrand of a pair, log p(x, z) - log q(z | x) at the draws of one step, computed as estimators read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.distributions import state_tables
from ppl_vae.distributions.bits import bit_flips
from ppl_vae.distributions.sampled_words import sampling_words
from ppl_vae.distributions.shapes import side_by_side
from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.base.integrand import Integrand, check_slopes
from ppl_vae.estimators.base.states import parts, switched_values
from ppl_vae.nn.modes import evaluation_mode, frozen, is_capturing
from ppl_vae.objectives.base import NonFiniteError, blame
from ppl_vae.objectives.flip_differences import (
    KnownFlipDifferences,
    known_flip_differences,
    scaled_log_probabilities,
    scaled_logits,
)
from ppl_vae.objectives.rate_distortion import Betas, scaled_sites
from ppl_vae.programs.handlers import Sites, SubstituteLatents, run
from ppl_vae.programs.sites import PairSites
from ppl_vae.programs.types import Program
from ppl_vae.programs.unobserved import with_masks_of

__all__ = ["PairIntegrand", "PairRuns", "mean_over_rows"]


@dataclass(frozen=True)
class PairRuns:
    """A model and a guide with their arguments, to be run at given latents.

    Arguments:
        model: A Pyro program.
        guide: A Pyro program.
        args: Positional arguments of both.
        kwargs: Keyword arguments of both.
        structure: Sites and plates of the pair.
        masks: Masks of the model's latents that hold for the guide's, too; known from the first run of the model.
    """

    model: Program
    guide: Program
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    structure: PairSites
    masks: dict[str, Any] = field(default_factory=dict)

    def run_model(self, values: Mapping[str, Tensor], draws: int) -> Sites:
        """Sites of the model with these latents."""
        sites = self._run(self.model, SubstituteLatents(values), draws)
        self.masks.update(with_masks_of(sites, values))
        return sites

    def run_guide(self, handler: Messenger, draws: int) -> Sites:
        """Sites of the guide, whose latents a handler may give."""
        return self.masked(self._run(self.guide, handler, draws))

    def masked(self, sites: Sites) -> Sites:
        """Sites of the guide with the masks of the model, as far as they are known."""
        if not self.masks:
            return sites
        return Sites({n: s | {"mask": self.masks.get(n, s["mask"])} for n, s in sites.items()}, sites.indices)

    def _run(self, program: Program, handler: Messenger, draws: int) -> Sites:
        plates = None if self.structure.canonical else self.structure.plates
        return run(program, self.args, self.kwargs, draws=draws, plates=plates, handler=handler, training=True)


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
        bits, structure = self.discrete, self.runs.structure
        means = {n: state_tables.mean(site["fn"]).detach().requires_grad_() for n, site in bits.items()}
        model, guide = self.runs.model, self.runs.guide
        quietly = pyro.validation_enabled(False)
        with quietly, torch.enable_grad(), frozen(model), evaluation_mode(model, guide), sampling_words():
            values, parts = means | self.proposed.indices, list[Tensor]()
            if len(bits) < len(structure.sites):
                proposed = self.runs.run_guide(SubstituteLatents(values), 1)
                values = proposed.values_of_latents()
                others = {n: s for n, s in proposed.items() if n not in bits}
                parts += [-part for part in structure.sum(others, betas=self.betas)]
            try:
                scored = self.runs.run_model(values, 1)
                relaxed = {n: state_tables.relaxed_log_prob(site) for n, site in scored.items() if n in means}
                known = {n: value for n, value in relaxed.items() if value is not None}
                parts += structure.sum(scored, known, self.betas)
                total = reduce(torch.add, [part.sum() for part in parts if part.ndim])
                slopes = torch.autograd.grad(total, list(means.values()), materialize_grads=True)
            except (ValueError, RuntimeError, IndexError, TypeError) as error:
                raise ValueError(
                    f"the first-order control variate evaluates the model at bits between 0 and 1 "
                    f"(sites {list(bits)}), which it refuses: {error}; use an estimator without it (--control none)"
                ) from error
        by_site = [slope.reshape(*self._guide_slope.shape[:-1], -1) for slope in slopes]
        if self._of_states:
            is_bits = [state_tables.is_bits(site["fn"]) for site in bits.values()]
            of_zeros = [torch.stack([torch.zeros_like(s), s], -1).flatten(-2) for s in by_site]
            by_site = [pair if b else s for b, pair, s in zip(is_bits, of_zeros, by_site, strict=True)]
        return side_by_side(by_site) - self._guide_slope

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
        if dependent := [site.name for site in self.runs.structure.sites if not site.independent]:
            raise ValueError(
                f"f.flip_differences flips one bit with all other latents fixed, but site {dependent[0]!r} depends on "
                "others; declare independent_latents = True in the estimator"
            )
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

    def _of_flipped_codes(self) -> Tensor:
        """Flip differences of log p(x, z), ``(rows, *plates, bits)``: the model runs for each bit."""
        assert self.code is not None
        bits, structure = self.code.bits, self.runs.structure
        now, values = _together(*self._log_joint).detach(), self.proposed.values_of_latents()
        sites, size = [site for site in structure.sites if site.discrete], bits.shape[-1]
        flipped = bit_flips(bits).flatten(0, 1).split([site.size for site in sites], -1)
        codes = {
            site.name: part.reshape(-1, *values[site.name].shape[1:]) for site, part in zip(sites, flipped, strict=True)
        }
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

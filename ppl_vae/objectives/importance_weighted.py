"""The likelihood of the model as an objective: exact over few states, else the importance-weighted bound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ppl_vae.data.inputs import Batch, as_batch, dense_width
from ppl_vae.evidence.measure import quick_evidence
from ppl_vae.nn.modes import evaluating, is_capturing
from ppl_vae.nn.observation_noise import has_analytic_noise
from ppl_vae.objectives.base import NonFiniteError, Objective, blame
from ppl_vae.objectives.path_gradients import Paths, check_reparameterised, check_repeats
from ppl_vae.programs.handlers import Sites, SubstituteLatents, check_cover, run, total
from ppl_vae.programs.log_weight import log_joint, log_proposal
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.states import States, obstacle
from ppl_vae.programs.types import Program

__all__ = ["ImportanceWeightedELBO"]

CELLS = 2**24
"""Largest number of (state or draw, datum, observed number) cells whose graph is held at once."""

VALIDATION_DRAWS = 32


class ImportanceWeightedELBO(Objective):
    r"""The log-likelihood of the model: exact over few discrete states, else its importance-weighted bound.

    Where all latents together have at most :math:`2^{\mathrm{most\_bits}}` joint states, value and gradient for the
    model are exact, whatever the guide,

    .. math:: \log p_\theta(x) = \log \sum_z p_\theta(x, z),

    and the guide, which does not affect the model, climbs the exact ELBO of the current model: it minimises
    :math:`\mathrm{KL}(q(z \mid x) \,\|\, p(z \mid x))` with the model's parameters held fixed. Otherwise both climb
    the bound of K draws (Burda, Grosse and Salakhutdinov 2016, eq. 8),

    .. math:: \mathcal{L}_K = \mathbb{E}_{z_1, \dots, z_K \sim q} \log \frac1K \sum_k w_k, \qquad
        w_k = \frac{p(x, z_k)}{q(z_k \mid x)},

    whose gradient weighs the draws by :math:`\tilde w_k = w_k / \sum_j w_j`, pathwise for reparameterised sites of
    the guide. The score of a discrete site's k-th draw has the weight

    .. math:: \Bigl(\log \frac1K \sum_j w_j - \log \frac{1}{K-1} \sum_{j \ne k} w_j\Bigr)
        - \Bigl(\tilde w_k - \frac1K\Bigr),

    the control variate of VIMCO with the mean of the other weights instead of the k-th weight (Mnih and Rezende 2016),
    and the constant 1/K, which causes no bias and removes most of the noise where the weights are nearly equal. OVIS
    (Lievin et al. 2020, eq. 17 at gamma = 0) has the constant -log(1 - 1/K) in its place, the same for many draws. One
    draw has no control variate: the bound is then the ELBO, and its gradient plain REINFORCE.

    With path gradients the guide's parameters follow the draws alone (Tucker et al. 2019, eq. 8),

    .. math:: \sum_k \tilde w_k^2\, \frac{\partial \log w_k}{\partial z_k}\, \frac{\partial z_k}{\partial \phi},

    which leaves out the guide's score, whose mean is in the square: unbiased, and without noise where the guide is the
    posterior. Of one draw it is the ELBO's, "sticking the landing" (Roeder, Wu and Duvenaud 2017). All latents of the
    guide must be reparameterised; its statements run twice, and must do the same both times.

    Every site lies in the one ``pyro.plate("data", len(x))``, unscaled and unmasked: the likelihood of a subsample is
    no part of that of all data.

    Arguments:
        draws: K, where the likelihood is not exact.
        most_bits: Longest code to enumerate at every step; 0 never enumerates.
        path_gradients: Whether the gradient for the guide, where the likelihood is not exact, leaves out its score.

    Raises:
        ValueError: On the first step, naming the site, if the pair does not keep the contract, or if model and guide
            do not have the same latents.
        NonFiniteError: If the loss is not finite, naming the site.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Bernoulli(0.5))
        ...         pyro.sample("x", dist.Normal(2 * z, 1), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Bernoulli(0.5))
        >>> x = torch.tensor([0.0, 3.0])
        >>> round(ImportanceWeightedELBO().loss(model, guide, x), 4)  # the ELBO of the posterior
        3.5791
    """

    measures: Literal["elbo", "evidence", "conditional"] = "evidence"

    learned_of_pairs = ("_states", "_shared", "_discrete", "_repeats")

    def __init__(
        self, draws: int = 16, most_bits: int = 10, *, path_gradients: bool = False, **options: object
    ) -> None:
        super().__init__(draws, **options)
        self.most_bits, self.path_gradients = most_bits, path_gradients
        self._states: States | None = None
        self._shared = False
        self._discrete: set[str] = set()
        self._repeats = False

    def method(self, model: Program, guide: Program, x: Batch) -> str:
        """The method that computes the likelihood of a pair."""
        self._probe(model, guide, x)
        return f"enumeration of {self._states.count} states" if self._states else "importance weights"

    def _probe(self, model: Program, guide: Program, x: Batch) -> None:
        """Learns how the latents are drawn, once per pair."""
        if self._knows(model, guide, (x,), {}):
            return
        if has_analytic_noise(model):
            raise ValueError(
                "an analytic sigma is the best for the ELBO of a batch, not for its likelihood; take another, as a "
                "learned one (--sigma learned)"
            )
        few = x[:3]
        with evaluating(model, guide), fork_random_state():
            drawn = run(guide, (few,), {}, draws=1, training=True)
            fixed = SubstituteLatents(drawn.values_of_latents())
            check_cover(run(model, (few,), {}, draws=1, handler=fixed, training=True), drawn)
            self._discrete = {site.name for site in guide_sites(guide, (few,)) if site.discrete}
            sites = guide_sites(model, (few,))
            self._states = None if obstacle(sites, self.most_bits) else States(sites, model, few)
            if self._states is not None:
                scores = (lambda x, z: log_joint(model, x, z), lambda x, z: log_proposal(guide, x, z))
                self._shared = self._states.shared(*scores)
            elif self.path_gradients:
                check_reparameterised(drawn)
        self._repeats = False
        self._know(model, guide, (x,), {})

    def differentiable_loss(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Tensor:
        """The negative log-likelihood of a batch, or its bound, in nats, with the gradients of model and guide."""
        x = as_batch(*args, **kwargs)
        self._probe(model, guide, x)
        part = self._drawn if self._states is None else self._enumerated
        rows = self.draws if self._states is None else self._states.count
        block = max(1, CELLS // (rows * dense_width(x)))
        if len(x) <= block:
            value, surrogate = part(model, guide, x, 0)
        else:
            # Images under many codes outgrow any memory: the backward pass computes blocks of data again.
            pairs = [
                checkpoint(part, model, guide, x[start : start + block], start, use_reentrant=False)
                for start in range(0, len(x), block)
            ]
            value, surrogate = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        bound, climbed = value.sum(), surrogate.sum()
        return -(bound.detach() + climbed - climbed.detach())

    def _enumerated(self, model: Program, guide: Program, x: Batch, start: int) -> tuple[Tensor, Tensor]:
        """log p(x) of each datum, and a surrogate with its gradient for the model and the ELBO's for the guide."""
        assert self._states is not None
        codes = self._states.codes(0, self._states.count, len(x), self._shared)
        scored, proposed = (
            run(program, (x,), {}, draws=self._states.count, handler=SubstituteLatents(codes), training=True)
            for program in (model, guide)
        )
        joint, log_q = self._total(scored, "model"), self._total(proposed, "guide")
        evidence = joint.logsumexp(0)
        posterior, probability = (joint - evidence).detach(), log_q.exp()
        # A code that the guide never draws adds nothing, however improbable it is under the model.
        divergence = (probability * torch.where(probability > 0, log_q - posterior, 0)).sum(0)
        return evidence, _finite(evidence - divergence, scored | proposed, start)

    def _drawn(self, model: Program, guide: Program, x: Batch, start: int) -> tuple[Tensor, Tensor]:
        """The importance-weighted bound of each datum, and a surrogate with its gradient."""
        proposed = run(guide, (x,), {}, draws=self.draws, training=True)
        if self.path_gradients:
            return self._followed(model, guide, x, start, proposed)
        fixed = SubstituteLatents(proposed.values_of_latents())
        scored = run(model, (x,), {}, draws=self.draws, handler=fixed, training=True)
        log_q = self._total({n: s for n, s in proposed.items() if n in self._discrete}, "guide")
        pathwise = self._total({n: s for n, s in proposed.items() if n not in self._discrete}, "guide")
        weights = self._total(scored, "model") - pathwise - log_q
        bound = weights.logsumexp(0) - math.log(self.draws)
        signal = (bound - _others(weights.detach()) + 1 / self.draws).detach()
        return bound, _finite(bound + (signal * log_q).sum(0), scored | proposed, start)

    def _followed(self, model: Program, guide: Program, x: Batch, start: int, proposed: Sites) -> tuple[Tensor, Tensor]:
        """The same, with the gradient for the guide along its draws."""
        paths = Paths(proposed.values_of_latents())
        scored = run(model, (x,), {}, draws=self.draws, handler=SubstituteLatents(paths.values), training=True)
        log_q = paths.linear(
            lambda values: self._total(
                run(guide, (x,), {}, draws=self.draws, handler=SubstituteLatents(values), training=True), "guide"
            )
        )
        if not self._repeats and not is_capturing():
            with torch.no_grad():
                check_repeats(self._total(proposed, "guide"), log_q)
            self._repeats = True
        weights = self._total(scored, "model") - log_q
        bound = weights.logsumexp(0) - math.log(self.draws)
        paths.weigh(weights.detach().softmax(0))
        return bound, _finite(bound, scored | proposed, start)

    def _total(self, sites: Mapping[str, Any], who: str) -> Tensor:
        for name, site in sites.items():
            plain = isinstance(site["scale"], float | int) and site["scale"] == 1 and site["mask"] is None
            if not plain:
                raise ValueError(
                    f"site {name!r} of the {who} is scaled or masked (a subsampling plate, poutine.scale or mask), "
                    "under which there is no likelihood; pass batches of whole data, or maximise the ELBO"
                )
        return total(sites, who)

    def validate(self, model: Program, guide: Program, x: Batch) -> dict[str, float]:
        return {"evidence": self.score(model, guide, x).mean().item()}

    def score(self, model: Program, guide: Program, x: Batch) -> Tensor:
        """A quick estimate of the evidence of each datum, or of its bound, ``(data,)``, in nats."""
        return quick_evidence(model, guide, x, VALIDATION_DRAWS, self.most_bits)


def _finite(values: Tensor, sites: Mapping[str, Any], start: int) -> Tensor:
    if not is_capturing() and not values.isfinite().all():
        raise NonFiniteError(blame(Sites(sites), start=start))
    return values


def _others(weights: Tensor) -> Tensor:
    """Log of the mean weight of the other draws, for each draw; 0 where no other draw has any weight.

    Sums from both ends: subtracting a draw's weight from the total would cancel where it dominates.
    """
    none = torch.full_like(weights[:1], -torch.inf)
    before = torch.cat([none, weights.logcumsumexp(0)[:-1]])
    after = torch.cat([weights.flip(0).logcumsumexp(0).flip(0)[1:], none])
    others = torch.logaddexp(before, after) - math.log(max(1, len(weights) - 1))
    return torch.where(others.isfinite(), others, 0)

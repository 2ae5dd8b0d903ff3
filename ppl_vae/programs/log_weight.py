"""The log-weight log p(x, z) - log q(z | x) of each sample and datum, which all measurements derive from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, as_batch
from ppl_vae.programs.fit import check_densities, is_discrete
from ppl_vae.programs.flat_prior import drawn_from
from ppl_vae.programs.handlers import (
    Site,
    Sites,
    SubstituteLatents,
    check_cover,
    latents,
    log_prob,
    run,
    scores,
    total,
)
from ppl_vae.programs.types import Program
from ppl_vae.programs.unobserved import without_masked

__all__ = [
    "Terms",
    "log_joint",
    "log_parts",
    "log_proposal",
    "log_proposals",
    "log_terms",
    "log_unmasked",
    "log_weight",
    "prior_terms",
    "terms_of",
]


def log_joint(model: Program, x: Batch, values: Mapping[str, Tensor]) -> Tensor:
    r"""Joint log-density of data and given latents, :math:`\log p(x_i, z_{si})`.

    Arguments:
        model: A model that keeps the contract: one plate ``"data"``, every site inside it.
        x: A batch.
        values: Latents by site name, ``(draws, batch, *event)``; with a batch size of 1 all data have the same
            latents, and what depends on the latents alone is computed once per latent.

    Returns:
        ``(draws, batch)``, in nats, with all constants.
    """
    draws = len(next(iter(values.values())))
    joint = total(run(model, (x,), {}, draws=draws, handler=SubstituteLatents(values)), "model")
    _check_rows(joint, x)
    return joint


def log_unmasked(
    model: Program, guide: Program, x: Batch, values: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The two terms of :func:`log_weight` of given latents, without the densities of latents where they are masked.

    Arguments:
        model: The model.
        guide: Its guide, of which no latent depends on a masked one.
        x: A batch.
        values: Latents as of :func:`log_joint`.

    Returns:
        log p(x, z) and log q(z given x), ``(draws, batch)`` each, in nats; and of latents that are masked for some data
        by site where they are, ``(1, batch)`` or fewer dimensions.
    """
    scored = run(model, (x,), {}, draws=len(next(iter(values.values()))), handler=SubstituteLatents(values))
    likelihood, prior = _parts(scored)
    _check_rows(likelihood, x)
    parts = (without_masked(scored, prior), without_masked(scored, log_proposals(guide, x, values)))
    masked = {name: site["free"] for name, site in scored.items() if "free" in site}
    return reduce(torch.add, parts[0].values(), likelihood), reduce(torch.add, parts[1].values()), masked


def log_proposal(guide: Program, x: Batch, values: Mapping[str, Tensor]) -> Tensor:
    r"""Log-density :math:`\log q(z_{si} \mid x_i)` of given latents under a guide, ``(draws, batch)``, in nats."""
    return reduce(torch.add, log_proposals(guide, x, values).values())


def log_proposals(guide: Program, x: Batch, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parts of :func:`log_proposal` by site, ``(draws, batch)`` each."""
    draws = len(next(iter(values.values())))
    return scores(run(guide, (x,), {}, draws=draws, handler=SubstituteLatents(values)), "guide")


def log_weight(model: Program, guide: Program, x: object, draws: int = 1) -> Tensor:
    r"""Log-weights :math:`\log p(x_i, z_{si}) - \log q(z_{si} \mid x_i)` of independent samples from the guide.

    Their mean over samples estimates the ELBO, the log of the mean of their exponentials bounds the evidence
    (Burda, Grosse and Salakhutdinov 2016, eq. 8).

    Arguments:
        model: A Pyro model that keeps the contract of this package: one ``pyro.plate("data", len(x))`` with
            every site inside it.
        guide: A guide that draws the model's latents.
        x: A batch, or several fields in a tuple, dict, named tuple or dataclass
            (:func:`~ppl_vae.data.inputs.as_batch`).
        draws: Number of samples per datum.

    Returns:
        ``(draws, batch)``, in nats, differentiable where the sites are.

    Raises:
        ValueError: If the pair does not keep the contract, naming the site.
    """
    return weigh(model, guide, as_batch(x), draws)[0]


def weigh(model: Program, guide: Program, x: Batch, draws: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The log-weights of :func:`log_weight`, and their samples by site, ``(draws, batch, *event)``."""
    terms = log_terms(model, guide, x, draws)
    return terms.weight, terms.values


class Terms(NamedTuple):
    """The terms of log-weights; densities ``(draws, batch)``, in nats.

    Arguments:
        likelihood: log p(x given z).
        prior: log p(z) by site.
        proposal: log q(z given x) by site.
        values: The samples z by site, ``(draws, batch, *event)``.
        discrete: Whether all observations are discrete, so that no likelihood exceeds one.
    """

    likelihood: Tensor
    prior: dict[str, Tensor]
    proposal: dict[str, Tensor]
    values: dict[str, Tensor]
    discrete: bool = False

    @property
    def ratio(self) -> Tensor:
        """log p(z) - log q(z given x) of each sample."""
        return reduce(torch.add, self.prior.values()) - reduce(torch.add, self.proposal.values())

    @property
    def weight(self) -> Tensor:
        """The log-weight of each sample."""
        return reduce(torch.add, self.prior.values()) + self.likelihood - reduce(torch.add, self.proposal.values())


def log_terms(model: Program, guide: Program, x: Batch, draws: int = 1) -> Terms:
    r"""The parts :math:`\log p(x \mid z)`, :math:`\log p(z)` and :math:`\log q(z \mid x)` of :func:`log_weight`.

    Raises:
        ValueError: If the pair does not keep the contract, naming the site.
    """
    return terms_of(model, x, run(guide, (x,), {}, draws=draws))


def terms_of(model: Program, x: Batch, proposed: Sites) -> Terms:
    """The terms of :func:`log_terms` of a run of the guide."""
    draws = len(next(iter(proposed.values()))["value"])
    scored = run(model, (x,), {}, draws=draws, handler=SubstituteLatents(proposed.values_of_latents()))
    check_cover(scored, proposed)
    check_densities(proposed, scored)
    likelihood, prior = _parts(scored)
    _check_rows(likelihood, x)
    return Terms(
        likelihood,
        without_masked(scored, prior),
        without_masked(scored, scores(proposed, "guide")),
        {name: site["value"] for name, site in proposed.items()},
        all(is_discrete(site) for site in scored.values() if site["is_observed"]),
    )


def prior_terms(model: Program, score: Callable[[Mapping[str, Tensor]], Sites], x: Batch, draws: int = 1) -> Terms:
    """The terms of :func:`log_terms` of samples from the prior instead of the guide.

    Arguments:
        model: The model.
        score: Function from latents by site to the sites of the guide with these values.
        x: The batch.
        draws: Number of samples.
    """
    scored = run(model, (x,), {}, draws=draws)
    likelihood, prior = _parts(scored)
    values = {name: site["value"] for name, site in latents(scored).items()}
    proposal = scores(score(values), "guide")
    return Terms(likelihood, without_masked(scored, prior), without_masked(scored, proposal), values)


def log_parts(model: Program, x: Batch, values: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The parts of :func:`log_joint`: log p(x given z), ``(draws, batch)``, and log p(z) by site.

    Of a :class:`~ppl_vae.programs.flat_prior.FlatPrior` those of the same joint density with the flattened prior.
    """
    draws = len(next(iter(values.values())))
    return _parts(run(model, (x,), {}, draws=draws, handler=SubstituteLatents(values)))


def _check_rows(log_density: Tensor, x: Batch) -> None:
    """Refuses a model that scores another number of data than there are."""
    if log_density.ndim and log_density.shape[-1] not in (1, len(x)):
        raise ValueError(
            f"the model scores {log_density.shape[-1]} data, but the batch has {len(x)}: write "
            'pyro.plate("data", len(x)), or subsample_size=len(x) if the plate has the size of the whole data set'
        )


def _parts(scored: Mapping[str, Site]) -> tuple[Tensor, dict[str, Tensor]]:
    drawn = latents(scored)
    observed = {name: site for name, site in scored.items() if name not in drawn}
    if not observed:
        raise ValueError("the model observes nothing; give its observation obs=x")
    likelihood, prior = total(observed, "model"), scores(drawn, "model")
    flat = {name: log_prob(other) for name, site in drawn.items() if (other := drawn_from(site))}
    # Latents drawn from a flattened prior: the likelihood makes up for it, so that the joint density is the same.
    apart = {name: torch.where(q == -torch.inf, 0, prior[name] - q) for name, q in flat.items()}
    moved = without_masked(scored, apart)
    return reduce(torch.add, moved.values(), likelihood), prior | flat

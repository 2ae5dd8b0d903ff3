"""The one formula everything is measured by: log p(x, z) - log q(z | x), draw by draw and datum by datum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppl_vae.programs.handlers import Site, SubstituteLatents, _scores, check_cover, latents, run, total

__all__ = ["Terms", "log_joint", "log_parts", "log_proposal", "log_proposals", "log_terms", "log_weight"]


def log_joint(model: Callable[..., Any], x: Any, values: Mapping[str, Tensor]) -> Tensor:
    r"""Log-density of data together with given latents, :math:`\log p(x_i, z_{si})`.

    Arguments:
        model: A model that keeps the contract: one plate ``"data"``, every site inside it.
        x: A batch.
        values: Latents by site name, ``(draws, batch, *event)``; a batch size of 1 gives every datum the same
            codes, and what depends on the code alone is then computed once a code.

    Returns:
        ``(draws, batch)``, in nats, with all constants.
    """
    draws = len(next(iter(values.values())))
    return total(run(model, (x,), {}, draws=draws, handler=SubstituteLatents(values)), "model")


def log_proposal(guide: Callable[..., Any], x: Any, values: Mapping[str, Tensor]) -> Tensor:
    r"""Log-density :math:`\log q(z_{si} \mid x_i)` of given latents under a guide, ``(draws, batch)``, in nats."""
    return reduce(torch.add, log_proposals(guide, x, values).values())


def log_proposals(guide: Callable[..., Any], x: Any, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parts of :func:`log_proposal` by site, ``(draws, batch)`` each."""
    draws = len(next(iter(values.values())))
    return _scores(run(guide, (x,), {}, draws=draws, handler=SubstituteLatents(values)), "guide")


def log_weight(model: Callable[..., Any], guide: Callable[..., Any], x: Any, draws: int = 1) -> Tensor:
    r"""Log-weights :math:`\log p(x_i, z_{si}) - \log q(z_{si} \mid x_i)` of independent draws from the guide.

    Their mean over draws estimates the ELBO, the log of the mean of their exponentials bounds the evidence
    (Burda, Grosse and Salakhutdinov 2016, eq. 8).

    Arguments:
        model: A Pyro model that keeps the contract of this package: one ``pyro.plate("data", len(x))`` with
            every site inside it.
        guide: A guide that draws the model's latents.
        x: A batch.
        draws: The number of draws a datum.

    Returns:
        ``(draws, batch)``, in nats, differentiable where the sites are.

    Raises:
        ValueError: If the pair does not keep the contract, naming the site.
    """
    return weigh(model, guide, x, draws)[0]


def weigh(model: Callable[..., Any], guide: Callable[..., Any], x: Any, draws: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The log-weights of :func:`log_weight`, and the draws they belong to by site, ``(draws, batch, *event)``."""
    terms = log_terms(model, guide, x, draws)
    return terms.weight, terms.values


class Terms(NamedTuple):
    """What log-weights are made of; densities ``(draws, batch)`` in nats.

    Arguments:
        likelihood: log p(x given z).
        prior: log p(z) by site.
        proposal: log q(z given x) by site.
        values: The draws z by site, ``(draws, batch, *event)``.
    """

    likelihood: Tensor
    prior: dict[str, Tensor]
    proposal: dict[str, Tensor]
    values: dict[str, Tensor]

    @property
    def weight(self) -> Tensor:
        """The log-weight of each draw."""
        return reduce(torch.add, self.prior.values()) + self.likelihood - reduce(torch.add, self.proposal.values())


def log_terms(model: Callable[..., Any], guide: Callable[..., Any], x: Any, draws: int = 1) -> Terms:
    r"""The parts :math:`\log p(x \mid z)`, :math:`\log p(z)` and :math:`\log q(z \mid x)` of :func:`log_weight`.

    Raises:
        ValueError: If the pair does not keep the contract, naming the site.
    """
    proposed = run(guide, (x,), {}, draws=draws)
    scored = run(model, (x,), {}, draws=draws, handler=SubstituteLatents(proposed.values_of_latents()))
    check_cover(scored, proposed)
    return Terms(
        *_parts(scored),
        _scores(proposed, "guide"),
        {name: site["value"] for name, site in proposed.items()},
    )


def log_parts(model: Callable[..., Any], x: Any, values: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The parts of :func:`log_joint`: log p(x given z), ``(draws, batch)``, and log p(z) by site."""
    draws = len(next(iter(values.values())))
    return _parts(run(model, (x,), {}, draws=draws, handler=SubstituteLatents(values)))


def _parts(scored: Mapping[str, Site]) -> tuple[Tensor, dict[str, Tensor]]:
    drawn = latents(scored)
    observed = {name: site for name, site in scored.items() if name not in drawn}
    if not observed:
        raise ValueError("the model observes nothing; give its observation obs=x")
    return total(observed, "model"), _scores(drawn, "model")

"""Latents that count for some data only: those of ``pyro.sample(NAME, ..., obs_mask=...)``, and masked ones.

Pyro splits such a statement in a site ``NAME_observed``, masked where the value is missing, and a latent
``NAME_unobserved``, masked elsewhere. Where a datum's value is known its latent has no influence: the density of the
data is the same whatever the latent is, and with its prior left in the joint density is normalised. What model and
guide have there is left out of a log-weight, as Pyro does; that of the guide is so by the mask of the model. The same
holds for other masked latents, as the steps of a sequence beyond its length, if they have no influence where they are
masked, which :func:`ppl_vae.programs.masked.masks_verified` checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.programs.densities import Site
from ppl_vae.programs.given import GIVEN

__all__ = [
    "VERIFIED",
    "MasksOfDraws",
    "check_none",
    "has_partial_latents",
    "masks_of_draws",
    "unmasked",
    "with_masks_of",
    "without_masked",
]

_SUFFIX = "_unobserved"

VERIFIED: ContextVar[frozenset[str]] = ContextVar("verified", default=frozenset())
"""Names of masked latents that are known to have no influence where they are masked."""


class MasksOfDraws(Messenger):
    """Makes ``dist.Normal(0, 1).mask(m)`` of a latent the mask of its site, where m is the same for all of a datum.

    So :func:`unmasked` finds it, whether a program writes it or ``poutine.mask(mask=m)``; any other stays as it is.
    """

    def _pyro_sample(self, msg: Site) -> None:
        if msg["is_observed"] or (masked := masks_of_draws(msg["fn"])) is None:
            return
        events = msg["fn"].event_dim - masked.event_dim
        mask = torch.as_tensor(masked._mask).expand(masked.batch_shape)
        if events:
            every = mask.flatten(mask.ndim - events)
            mask = every.all(-1)
            if not torch.equal(mask, every.any(-1)):
                return
        msg["fn"] = masked.base_dist.to_event(events) if events else masked.base_dist
        msg["mask"] = mask if msg["mask"] is None else mask & msg["mask"]


def masks_of_draws(fn: object) -> dist.MaskedDistribution | None:
    """The distribution with a mask that a latent is drawn from, in ``to_event`` or not."""
    while isinstance(fn, torch.distributions.Independent):
        fn = fn.base_dist
    return fn if isinstance(fn, dist.MaskedDistribution) else None


def _is_partial(name: str, site: Site, sites: Mapping[str, Site]) -> bool:
    """Whether this is such a latent of a model, or may be that of a guide, which observes nothing."""
    is_latent = not site["is_observed"] or site["infer"].get(GIVEN)
    if is_latent and name in VERIFIED.get():
        return True
    if not is_latent or not name.endswith(_SUFFIX):
        return False
    beside = f"{name.removesuffix(_SUFFIX)}_observed"
    return beside in sites or not any(other["is_observed"] for other in sites.values())


def unmasked(sites: Mapping[str, Site]) -> dict[str, Site]:
    """Sites of a measurement whose latents have a density everywhere; ``"free"`` says where they have no influence."""
    return {
        name: {**site, "mask": None, "free": ~site["mask"]}
        if isinstance(site["mask"], Tensor) and _is_partial(name, site, sites)
        else site
        for name, site in sites.items()
    }


def without_masked(model: Mapping[str, Site], densities: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Log-densities of latents by site, left out where the model's value is known."""
    return {
        name: torch.where(free, torch.zeros(()).to(value), value)
        if (free := model[name].get("free")) is not None
        else value
        for name, value in densities.items()
    }


def with_masks_of(model: Mapping[str, Site], guide: Mapping[str, object]) -> dict[str, Any]:
    """Masks of the model's latents that the guide's have to have, by site, in training."""
    return {
        name: site["mask"]
        for name, site in model.items()
        if name in guide and site["mask"] is not None and not site["is_observed"]
    }


def has_partial_latents(sites: Mapping[str, Site]) -> bool:
    """Whether a latent of a model counts for some data only."""
    return any("free" in site for site in sites.values())


def check_none(sites: Mapping[str, Site], what: str) -> None:
    """Refuses pairs with such latents where they are not taken into account.

    Raises:
        ValueError: Naming the site.
    """
    for name, site in sites.items():
        if "free" in site:
            raise ValueError(
                f"latent site {name!r} is masked: it counts for some data only, which {what} does not take; "
                "evidence and the split of the gap take it"
            )

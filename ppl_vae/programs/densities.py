"""Sites of a program as densities per datum: what a measurement takes off, leaves out or refuses."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from functools import lru_cache
from typing import Any, TypeVar, cast

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.poutine.messenger import Messenger
from torch.distributions import constraints

from ppl_vae.distributions.wrappers import chain
from ppl_vae.programs.rearranged import Rearranged

__all__ = [
    "InOrder",
    "Site",
    "agree",
    "element_support",
    "has_dependent_support",
    "innermost",
    "inside_support",
    "is_density",
    "is_deterministic",
    "largest_value",
    "regulariser",
    "scaled_sites",
    "unscaled",
    "unvalidated",
]

Site = dict[str, Any]

D = TypeVar("D")

_REGULARISER = "ppl_vae_regulariser"


class InOrder(Messenger):
    """Subsampling plates take their data in order: row i of a site belongs to row i of the batch.

    Rows that a program gives itself, ``pyro.plate("data", 1000, subsample=rows)``, with or without ``subsample_size``,
    are left as they are.

    Arguments:
        batch: Number of data; None where it is not known.
    """

    def __init__(self, batch: int | None) -> None:
        super().__init__()
        self.batch = batch

    def _pyro_sample(self, msg: Site) -> None:
        if not poutine.util.site_is_subsample(msg):
            return
        size, taken, given = msg["fn"].size, msg["fn"].subsample_size, msg["value"]
        if given is not None and len(given) != self.batch == taken:
            given = None  # rows of a run with other data, put in with its latents
        taken = taken if given is None else len(given)
        if taken in (None, size) and (given is None or len(given) == size):
            return
        if self.batch is not None and taken != self.batch:
            raise ValueError(
                f"plate {msg['name']!r} takes {taken} of {size} rows, but the batch has {self.batch}: write "
                "subsample_size=len(x), so that every datum of a batch is measured"
            )
        if given is None:
            msg["value"] = torch.arange(taken)


@contextmanager
def regulariser() -> Iterator[None]:
    """Factors inside are terms of the training objective; measurements leave them out.

    Example:
        >>> import pyro, torch
        >>> def model(x):
        ...     with regulariser():
        ...         pyro.factor("weight_decay", torch.tensor(-0.1))
    """
    with poutine.infer_config(config_fn=lambda site: {_REGULARISER: True}):
        yield


def is_deterministic(site: Site) -> bool:
    """Whether a site is a ``pyro.deterministic`` statement: neither a latent nor an observation."""
    return bool(site["infer"].get("_deterministic"))


def is_density(site: Site) -> bool:
    """Whether a site has a density; a factor declared a :func:`regulariser` has none and is left out.

    Raises:
        ValueError: If the site is another factor, or a latent that is masked, naming it and the remedy.
    """
    if isinstance(site["fn"], dist.Unit):
        if site["infer"].get(_REGULARISER):
            return False
        raise ValueError(
            f"site {site['name']!r} is a pyro.factor: its term is no density, so that ELBO and evidence of this "
            "program are not defined; observe a distribution instead, or, if it is a term of the training objective "
            "only, put it inside `with pv.regulariser():`, and measurements leave it out"
        )
    is_latent = not site["is_observed"] and "observed_value" not in site["infer"]  # data are drawn there
    if is_latent and not (_covers_all(site["mask"]) and _is_unmasked(site["fn"])):
        if site["name"].endswith("_unobserved"):
            name = site["name"].removesuffix("_unobserved")
            raise ValueError(
                f"site {name!r} is observed by element (obs_mask), so that {site['name']!r} is free where the mask is "
                f"on; leave missing elements out instead: `pyro.sample({name!r}, fn.mask(m), obs=x)`, m the same mask, "
                f"without {site['name']!r} in the guide (docs/inputs.md); an obs_mask of whole data is taken"
            )
        raise ValueError(
            f"latent site {site['name']!r} is masked, so that its value is free where the mask is off and the ELBO has "
            "no bound; mask the observation instead (for missing data: poutine.mask around the observed site, with any "
            "finite value where data are missing)"
        )
    return True


def innermost(fn: TorchDistribution) -> TorchDistribution:
    """The distribution inside wrappers that declare dimensions, expand, mask or rearrange it."""
    wrappers = (torch.distributions.Independent, ExpandedDistribution, dist.MaskedDistribution, Rearranged)
    return next(part for part in chain(fn) if not isinstance(part, wrappers))


def _is_unmasked(fn: object) -> bool:
    return all(_covers_all(part._mask) for part in chain(fn) if isinstance(part, dist.MaskedDistribution))


def _covers_all(mask: object) -> bool:
    return mask is None or mask is True or (isinstance(mask, torch.Tensor) and bool(mask.all()))


def unscaled(site: Site) -> Site:
    """The site without the scale of ``poutine.scale`` or of a plate of subsamples."""
    return site if _is_one(site["scale"]) else {**site, "scale": 1.0, "was_scaled": True}


def unvalidated(fn: D) -> D:
    """The distribution without checks of values, which its maker may have asked for before they were switched off."""
    parts = chain(fn)
    if not any(getattr(part, "_validate_args", False) for part in parts):
        return fn
    copies = [copy(part) for part in parts]
    for outer, inner in zip(copies, copies[1:], strict=False):
        outer.base_dist = inner
    for each in copies:
        each._validate_args = False
    return cast(D, copies[0])


def inside_support(
    fn: TorchDistribution, value: object, counts: torch.Tensor | None, log_density: torch.Tensor
) -> torch.Tensor:
    """The log-density of an observed value, minus infinity outside the support.

    Without checks of values some densities, such as that of a Pareto below its scale, are finite there.

    Arguments:
        fn: The distribution.
        value: The value.
        counts: Which of its elements count (:func:`~ppl_vae.programs.missing.counted`); None is all.
        log_density: Its log-density without checks.
    """
    if not isinstance(value, torch.Tensor):
        return log_density
    support = element_support(fn.support)
    inside = support.check(value)
    if counts is not None:
        inside = inside | ~(counts[..., 0] if support.event_dim else counts)
    if elements := fn.event_dim - support.event_dim:
        inside = inside.flatten(inside.ndim - elements).all(-1)
    return torch.where(inside, log_density, -torch.inf)


def element_support(support: constraints.Constraint) -> constraints.Constraint:
    """The support of one element of values whose elements are independent; other supports as they are."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def has_dependent_support(fn: object) -> bool:
    """Whether the support of a distribution, inside its wrappers, depends on its parameters."""
    return _of_family_with_dependent_support(type(innermost(fn)))  # type: ignore[arg-type]  # classes are hashable


@lru_cache(maxsize=2**8)
def _of_family_with_dependent_support(family: type) -> bool:
    return isinstance(inspect.getattr_static(family, "support", None), constraints.dependent_property)


def largest_value(fn: TorchDistribution) -> torch.Tensor | None:
    """The largest value of a discrete distribution that lists its values, where it depends on parameters; else None."""
    base = innermost(fn)
    upper = getattr(element_support(base.support), "upper_bound", None) if base.has_enumerate_support else None
    return upper if isinstance(upper, torch.Tensor) else None


def scaled_sites(sites: Mapping[str, Site]) -> list[str]:
    """Names of the sites of a measurement whose scale was taken off."""
    return [name for name, site in sites.items() if site.get("was_scaled")]


def _is_one(scale: object) -> bool:
    return bool((scale == 1).all()) if isinstance(scale, torch.Tensor) else scale == 1


def agree(one: torch.Tensor, other: torch.Tensor, tolerance: float = 1e-4) -> bool:
    """Whether log-densities of one shape are equal up to rounding, NaN to NaN.

    Those of a batch with a long document are float64, those of its other rows alone float32
    (:data:`~ppl_vae.distributions.multinomial.LONG`).
    """
    return torch.allclose(one.to(other.dtype), other, rtol=tolerance, atol=tolerance, equal_nan=True)

"""A latent of a model as a guide sees it: its shape, and the family from which a guide draws it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, biject_to, constraints

from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.bits import BitsDistribution
from ppl_vae.distributions.exponential_family import Family
from ppl_vae.distributions.mapped import Mapped, MappedNormal
from ppl_vae.distributions.scales import location_and_log_scale, typical_scale
from ppl_vae.programs.densities import element_support

__all__ = ["Latent", "reshaped"]

MAPPED_UNIT = 0.05
"""Unit of numbers that are mapped: with deviations far above 2.7, where its bound begins, their values overflow."""

_ENDS = ("lower_bound", "upper_bound")

_MAPPED = "normal mapped to the support"

_SAME_FAMILY = (
    Family.CATEGORICAL,
    Family.ONE_HOT,
    Family.POISSON,
    Family.GEOMETRIC,
    Family.NEGATIVE_BINOMIAL,
    Family.VON_MISES,
)
"""Families whose latents a guide draws from the family of their prior."""


@dataclass(frozen=True)
class Latent:
    """A latent site of a model.

    Arguments:
        name: Name of the site.
        family: Family of its distribution, or the name of the distribution's class where it is none of them.
        shape: Shape of one datum's value.
        states: Number of states of a categorical, or of values of a binomial; 0 for other families.
        support: What normal numbers are mapped onto; None where they are the value itself.
        unit: Typical standard deviation of the numbers, which bounds those of a guide; None is no bound.
    """

    name: str
    family: Family | str
    shape: torch.Size
    states: int = 0
    support: constraints.Constraint | None = None
    unit: float | None = None

    @classmethod
    def of(cls, name: str, fn: Distribution) -> Latent:
        """The latent of a site with this distribution, whose batch shape is ``(draws, data)``."""
        inner, family = exponential_family.base(fn), exponential_family.family(fn)
        if isinstance(inner, MappedNormal):
            return cls(name, Family.NORMAL, fn.event_shape, support=fn.support)
        categorical = family in (Family.CATEGORICAL, Family.ONE_HOT)
        states = inner.logits.shape[-1] if categorical else 0
        return cls(name, family, fn.event_shape, states)

    @classmethod
    def drawn_by_guides(cls, name: str, prior: TorchDistribution) -> Latent:
        """The latent with the family from which guides draw it, given its prior; see :func:`_guide_family`.

        Raises:
            ValueError: If the support changes with the data, other latents or parameters, naming the site.
        """
        latent = cls.of(name, prior)
        fn = exponential_family.base(prior)
        family = _guide_family(fn)
        if family == Family.BINOMIAL:
            upper = _end(fn.support.upper_bound, name, len(prior.event_shape))
            if isinstance(upper, Tensor):
                raise ValueError(f"the numbers of latent site {name!r} have different largest values; give each a site")
            return replace(latent, family=family, states=int(upper) + 1)
        if family != _MAPPED:
            return replace(latent, family=family, unit=typical_scale(prior) if family == Family.NORMAL else None)
        return replace(
            latent, family=Family.NORMAL, unit=MAPPED_UNIT, support=_fixed(prior.support, name, len(prior.event_shape))
        )

    @property
    def description(self) -> str:
        """The family in words."""
        return self.family if self.support is None else _MAPPED

    def start(self, prior: TorchDistribution) -> Tensor | float | None:
        """Parameters with which a guide begins near the prior; None for bits and categoricals: it begins at random."""
        if self.family in (Family.BERNOULLI, Family.CATEGORICAL, Family.ONE_HOT):
            return None
        if self.family != Family.NORMAL or self.support is not None:
            return 0.0
        return torch.stack(location_and_log_scale(prior)).flatten()

    @property
    def inner(self) -> torch.Size:
        """Shape of the numbers that are mapped to a value; that of the value where nothing is mapped."""
        return self.shape if self.support is None else torch.Size(biject_to(self.support).inverse_shape(self.shape))

    @property
    def size(self) -> int:
        """How many numbers one datum's value is made of."""
        return self.inner.numel()

    def onto(self, fn: Distribution) -> Distribution:
        """Values of this latent from a distribution of as many real numbers: reshaped, and mapped to the support."""
        fn = reshaped(fn, self.inner)
        return fn if self.support is None else Mapped(fn, self.support)

    def numbers(self, value: Tensor) -> Tensor:
        """The real numbers that are mapped to values; the values themselves where nothing is mapped."""
        if self.support is None:
            return value
        inverse: Tensor = biject_to(self.support).inv(value)
        return inverse


def _guide_family(fn: TorchDistribution) -> Family | str:
    """The family from which a guide draws a latent whose prior, inside all wrappers, is this.

    - bits: Bernoulli; categoricals, one-hots, Poisson, geometric and negative binomial counts and angles (von Mises):
      the prior's family;
    - other whole numbers: binomial up to a largest one, negative binomial without;
    - real numbers: normal;
    - all other continuous latents: normal numbers, mapped to the support as Pyro's autoguides do.
    """
    family = exponential_family.family(fn)
    if isinstance(fn, BitsDistribution) or family == Family.BERNOULLI:
        return Family.BERNOULLI
    if family in _SAME_FAMILY:
        return family
    while hasattr(fn, "component_distribution"):
        fn = exponential_family.base(fn.component_distribution)
    try:
        support = fn.support
        if support is None:
            return family
        if support.is_discrete:
            return _family_of_counts(support) or family
        biject_to(support)
    except NotImplementedError:
        return family
    return Family.NORMAL if element_support(support) in (constraints.real, constraints.real_vector) else _MAPPED


def _family_of_counts(support: constraints.Constraint) -> Family | None:
    kind, lower = type(support), getattr(support, "lower_bound", 0)
    if kind is type(constraints.nonnegative_integer) and lower == 0:
        return Family.NEGATIVE_BINOMIAL
    if kind is type(constraints.integer_interval(0, 1)) and not torch.as_tensor(lower).any():
        return Family.BINOMIAL
    return None


def _fixed(support: constraints.Constraint, site: str, events: int) -> constraints.Constraint:
    """A support with the same ends for all data and draws."""
    if isinstance(support, constraints.independent):
        inner = _fixed(support.base_constraint, site, events)
        return constraints.independent(inner, support.reinterpreted_batch_ndims)
    ends = [name for name in _ENDS if hasattr(support, name)]
    if not any(isinstance(getattr(support, name), Tensor) for name in ends):
        return support  # type: ignore[no-any-return]
    fixed: constraints.Constraint = type(support)(*[_end(getattr(support, name), site, events) for name in ends])
    return fixed


def _end(bound: Tensor | float, site: str, events: int) -> Tensor | float:
    """The number at which a support ends, or one for each element of an event."""
    if not isinstance(bound, Tensor):
        return bound
    one = bound.flatten()[0]
    each = bound.reshape(-1, *bound.shape[bound.ndim - events :])[0] if bound.ndim > events else bound
    if bound.requires_grad or not bool((bound == each).all()):
        raise ValueError(
            f"the support of latent site {site!r} is learned, or differs between data, so that no guide built for the "
            "model can draw from it; give the site a fixed support and compute the value from it"
        )
    return one.item() if bool((bound == one).all()) else each


def reshaped(fn: Distribution, shape: torch.Size) -> Distribution:
    """The same distribution over values of another shape with the same number of elements."""
    if shape == fn.event_shape:
        return fn
    transformed: Distribution = dist.TransformedDistribution(
        fn, [dist.transforms.ReshapeTransform(fn.event_shape, shape, cache_size=1)]
    )
    return transformed

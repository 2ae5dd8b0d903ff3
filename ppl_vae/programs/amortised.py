"""Amortised guides: built from a model, whose prior they trace once to learn its latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ppl_vae.data.counts import Batch, PackedCounts
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.bits import BitsDistribution
from ppl_vae.distributions.exponential_family import Family
from ppl_vae.distributions.scales import bounded_log_scale, typical_scale
from ppl_vae.nn.modes import evaluating, probing_shapes
from ppl_vae.nn.priors import VampPrior
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program

__all__ = [
    "AmortisedGuide",
    "Factorised",
    "Latent",
    "Reads",
    "independent",
    "independents",
    "parameter_count",
    "parameters_of",
    "reshaped",
]

Reads = Literal["any", "documents", "images"]

_READS: dict[Reads, str] = {
    "any": "any data",
    "documents": "documents (packed counts)",
    "images": "images (height, width) or (channels, height, width)",
}


def _check_reads(guide: str, reads: Reads, x: Batch) -> None:
    """Refuses data of a kind that a guide does not read."""
    if reads not in _READS:
        raise ValueError(f"{guide}.reads must be one of {', '.join(_READS)}, got {reads!r}")
    fits = {
        "any": True,
        "documents": isinstance(x, PackedCounts),
        "images": isinstance(x, Tensor) and x.ndim in (3, 4),
    }
    if not fits[reads]:
        data = "documents" if isinstance(x, PackedCounts) else f"tensors of shape {tuple(x.shape[1:])}"
        raise ValueError(
            f"{guide} reads {_READS[reads]}, but the data are {data}; choose another guide (--guide), or another "
            "corpus and model"
        )


@dataclass(frozen=True)
class Latent:
    """A latent site of a model.

    Arguments:
        name: Name of the site.
        family: Family of its prior, or the name of the distribution's class where it is none of them.
        shape: Shape of one datum's value.
        states: Number of states of a categorical; 0 for other families.
        unit: Typical standard deviation of its prior, which bounds those of a guide; None is no bound.
    """

    name: str
    family: Family | str
    shape: torch.Size
    states: int = 0
    unit: float | None = None

    @classmethod
    def of(cls, name: str, fn: Distribution) -> Latent:
        """The latent of a site with this distribution, whose batch shape is ``(draws, data)``."""
        family = exponential_family.family(fn)
        categorical = family in (Family.CATEGORICAL, Family.ONE_HOT)
        states = exponential_family.base(fn).logits.shape[-1] if categorical else 0
        return cls(name, family, fn.event_shape, states)

    @property
    def size(self) -> int:
        """How many numbers one datum's value has."""
        return self.shape.numel()


class AmortisedGuide(PyroModule):
    """A guide q(z | x) whose encoder maps each datum to the parameters of a distribution.

    A subclass declares the families of latents it ``supports`` (None is any) and the data it ``reads``: ``"any"``,
    documents as well as tensors of every shape; ``"documents"``, packed counts; or ``"images"``, tensors ``(height,
    width)`` or ``(channels, height, width)`` per datum. Its constructor, whose further arguments are its command-line
    options, sets ``encoder``, a module from a batch to ``(batch, parameters)``; ``members`` makes distributions by
    site from such parameters. The first ``parameter_count(latent)`` of them are those of :func:`independent`, and where
    all others are zero the latents are independent: every family contains the factorised one. A guide that does not fit
    this may override ``forward``.

    Arguments:
        model: A Pyro model that keeps the contract: one ``pyro.plate("data", len(x))`` with every site inside.
        x: An example batch of its data, read for its shapes.

    A :class:`~ppl_vae.nn.priors.VampPrior` in the model is made of the first guide that is built for it.

    Raises:
        ValueError: If the guide does not read data of this kind; if the model has no latents, breaks the contract, or
            has a latent of a family the guide does not support, naming the site.
    """

    reads: Reads = "any"
    supports: tuple[Family | str, ...] | None = ()
    family: str | None = None
    """A description of the variational family, where ``members`` reaches all of it by the parameters of each datum: it
    has no network of its own that is trained beside the encoder. Its best members can then be searched for."""
    encoder: nn.Module

    def __init__(self, model: Program, x: Batch) -> None:
        super().__init__()
        who = type(self).__name__
        _check_reads(who, self.reads, x)
        with evaluating(model), fork_random_state(), probing_shapes():
            sites = run(model, (x,), {}, draws=1, training=True)
        self.latents: list[Latent] = []
        for name, site in sites.items():
            frames = [(f.name, f.dim) for f in site["cond_indep_stack"] if f.dim > -2 and f.name[0] != "_"]
            if frames != [("data", -1)]:
                raise ValueError(
                    f"{who}: site {name!r} of the model lies in the plates {[f for f, _ in frames]}; put it inside "
                    'exactly one pyro.plate("data", len(x))'
                )
        for name, site in latents(sites).items():
            family = _guide_family(exponential_family.base(site["fn"]))
            if self.supports is not None and family not in self.supports:
                raise ValueError(
                    f"{who} does not support latent site {name!r}, which is {family}; it supports "
                    f"{', '.join(self.supports)}"
                )
            unit = typical_scale(site["fn"]) if family == Family.NORMAL else None
            self.latents.append(replace(Latent.of(name, site["fn"]), family=family, unit=unit))
        if not self.latents:
            raise ValueError(f"{who}: the model has no latent site; a guide needs at least one pyro.sample without obs")
        for part in model.modules() if isinstance(model, nn.Module) else ():
            if isinstance(part, VampPrior) and part.guide is None:
                part.set_guide(self)

    @property
    def latent(self) -> Latent:
        """The only latent site.

        Raises:
            ValueError: If there are several, naming them.
        """
        if len(self.latents) > 1:
            names = ", ".join(repr(latent.name) for latent in self.latents)
            raise ValueError(
                f"{type(self).__name__} supports one latent site, but the model has {names}; use mean_field"
            )
        return self.latents[0]

    def members(self, parameters: Tensor) -> dict[str, Distribution]:
        """Distributions of the latents by site, of batch shape ``(*batch,)``, from ``(*batch, parameters)``."""
        raise NotImplementedError

    def forward(self, x: Batch) -> None:
        """Draws the latents of a batch."""
        parameters = self.encoder(x)
        with pyro.plate("data", len(x)):
            for name, fn in self.members(parameters).items():
                pyro.sample(name, fn)


def _guide_family(fn: Distribution) -> Family | str:
    """The family from which a guide draws a latent with this prior: Bernoulli for any bits, normal for any reals."""
    if isinstance(fn, BitsDistribution):
        return Family.BERNOULLI
    family = exponential_family.family(fn)
    if exponential_family.is_known(fn):
        return family
    while hasattr(fn, "component_distribution"):
        fn = exponential_family.base(fn.component_distribution)
    try:
        support = fn.support
    except NotImplementedError:
        return family
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return Family.NORMAL if support in (constraints.real, constraints.real_vector) else family


class Factorised(AmortisedGuide):
    r"""A guide under which all latents of a datum are independent of each other.

    .. math:: q(z \mid x) = \prod_j q_j(z_j \mid g_j(x))

    with parameters g from one encoder: a logit per bit, a logit per state of a categorical, mean and log standard
    deviation of a normal.

    Arguments:
        model: The generative model.
        x: An example batch.
        encoder: Makes the encoder from the number of its outputs.
    """

    supports = (Family.BERNOULLI, Family.CATEGORICAL, Family.ONE_HOT, Family.NORMAL)

    def __init__(self, model: Program, x: Batch, encoder: Callable[[int], nn.Module]) -> None:
        super().__init__(model, x)
        self.encoder = encoder(sum(map(parameter_count, self.latents)))

    def members(self, parameters: Tensor) -> dict[str, Distribution]:
        return independents(self.latents, parameters)


def parameter_count(latent: Latent) -> int:
    """How many parameters :func:`independent` takes for a latent."""
    if latent.family == Family.ONE_HOT:
        return latent.size
    if latent.family == Family.MULTIVARIATE_NORMAL:
        return latent.size * (latent.size + 3) // 2
    if latent.family == Family.CATEGORICAL:
        return latent.size * latent.states
    return latent.size * (2 if latent.family == Family.NORMAL else 1)


def independent(latent: Latent, parameters: Tensor) -> Distribution:
    """A distribution of one latent, independent of the others, from ``(..., parameter_count(latent))``.

    The parameters are logits; of normals the means, then the logarithms of the standard deviations; of a multivariate
    normal the means, the logarithms of the Cholesky factor's diagonal, and the entries below it. The logarithms are
    bounded (:func:`~ppl_vae.distributions.scales.bounded_log_scale`).
    """
    lead, events = parameters.shape[:-1], len(latent.shape)
    fn: Distribution
    if latent.family == Family.NORMAL:
        loc, log_scale = parameters.reshape(*lead, 2, *latent.shape).unbind(len(lead))
        fn = dist.Normal(loc, bounded_log_scale(log_scale, latent.unit).exp()).to_event(events)
    elif latent.family == Family.MULTIVARIATE_NORMAL:
        size = latent.size
        loc, log_diagonal, coupling = parameters.split([size, size, size * (size - 1) // 2], -1)
        row, column = torch.tril_indices(size, size, -1, device=parameters.device)
        below = parameters.new_zeros(*lead, size, size)
        below[..., row, column] = coupling
        diagonal = bounded_log_scale(log_diagonal, latent.unit).exp()
        fn = dist.MultivariateNormal(loc, scale_tril=diagonal.diag_embed() + below)
        fn = reshaped(fn, latent.shape)
    elif latent.family == Family.BERNOULLI:
        fn = dist.Bernoulli(logits=parameters.reshape(*lead, *latent.shape)).to_event(events)
    elif latent.family == Family.CATEGORICAL:
        fn = dist.Categorical(logits=parameters.reshape(*lead, *latent.shape, latent.states)).to_event(events)
    else:
        fn = dist.OneHotCategorical(logits=parameters.reshape(*lead, *latent.shape)).to_event(events - 1)
    return fn


def independents(latents: list[Latent], parameters: Tensor) -> dict[str, Distribution]:
    """Distributions of independent latents by site, from the parameters of all latents side by side."""
    parts = parameters.split([parameter_count(latent) for latent in latents], -1)
    return {latent.name: independent(latent, part) for latent, part in zip(latents, parts, strict=True)}


def parameters_of(latent: Latent, fn: Distribution) -> Tensor:
    """The parameters from which :func:`independent` makes this distribution, ``(*batch_shape, parameters)``."""
    inner, lead = exponential_family.base(fn), fn.batch_shape
    shape = torch.Size((*lead, *fn.event_shape))
    if latent.family == Family.MULTIVARIATE_NORMAL:
        tril = inner.scale_tril
        row, column = torch.tril_indices(latent.size, latent.size, -1, device=tril.device)
        parts = [inner.loc, tril.diagonal(dim1=-2, dim2=-1).log(), tril[..., row, column]]
        return torch.cat([part.expand(*lead, part.shape[-1]) for part in parts], -1)
    if latent.family == Family.NORMAL:
        parts = [part.expand(shape).reshape(*lead, -1) for part in (inner.loc, inner.scale.log())]
        return torch.cat(parts, -1)
    logits: Tensor = inner.logits
    return logits.expand((*shape, latent.states) if latent.family == Family.CATEGORICAL else shape).reshape(*lead, -1)


def reshaped(fn: Distribution, shape: torch.Size) -> Distribution:
    """The same distribution over values of another shape with the same number of elements."""
    if shape == fn.event_shape:
        return fn
    transformed: Distribution = dist.TransformedDistribution(
        fn, [dist.transforms.ReshapeTransform(fn.event_shape, shape)]
    )
    return transformed

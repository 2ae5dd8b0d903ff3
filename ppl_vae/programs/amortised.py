"""Amortised guides: built from a model, whose prior they trace once to learn its latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import constraints

from ppl_vae.data.counts import Batch, PackedCounts
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.bits import BitsDistribution
from ppl_vae.nn.modes import alone, evaluating
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.random_state import fork_random_state

__all__ = [
    "AmortisedGuide",
    "Factorised",
    "Latent",
    "Reads",
    "independent",
    "independents",
    "parameters",
    "parameters_of",
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
        name: Of the site.
        family: Of its prior, in words.
        shape: Of one datum's value.
        states: Of each number of a categorical; 0 for other families.
    """

    name: str
    family: str
    shape: torch.Size
    states: int = 0

    @classmethod
    def of(cls, name: str, fn: Any) -> Latent:
        """The latent that a distribution draws, ``(draws, data)`` of them at once."""
        family = exponential_family.family(fn)
        states = exponential_family.base(fn).logits.shape[-1] if "categorical" in family else 0
        return cls(name, family, fn.event_shape, states)

    @property
    def size(self) -> int:
        return self.shape.numel()


class AmortisedGuide(PyroModule):
    """A guide q(z | x): a network reads numbers off each datum, and a family of distributions is made from them.

    A subclass declares the families of latents it ``supports`` (None is any) and the data it ``reads``: ``"any"``,
    documents as well as tensors of every shape; ``"documents"``, packed counts; or ``"images"``, tensors ``(height,
    width)`` or ``(channels, height, width)`` per datum. Its constructor, whose further arguments are its
    command-line options, sets ``encoder``, a module from a batch to ``(batch, numbers)``; ``members`` makes
    distributions by site from such numbers. The first ``parameters(latent)`` numbers are those of :func:`independent`,
    and where couplings, the others, are zero, the latents are independent: every family contains the factorised one.
    One that does not fit this may override ``forward``.

    Arguments:
        model: A Pyro model that keeps the contract: one ``pyro.plate("data", len(x))`` with every site inside.
        x: An example batch of its data; only shapes are read off it.

    A model whose prior is made of its guide, such as a VampPrior, says by ``met`` whether it knows one, and is given
    the first that is built for it by its method ``meet``.

    Raises:
        ValueError: If the guide does not read data of this kind; if the model has no latents, breaks the contract, or
            has a latent of a family the guide does not support, naming the site.
    """

    reads: Reads = "any"
    supports: tuple[str, ...] | None = ()
    family: str | None = None
    """The family in words, down to what tells it from others, where ``members`` reaches all of it by the numbers alone:
    no network of its own that would have to be trained. Its best members can then be searched for."""
    encoder: nn.Module

    def __init__(self, model: Callable[[Any], Any], x: Any) -> None:
        super().__init__()
        who = type(self).__name__
        _check_reads(who, self.reads, x)
        with evaluating(model), fork_random_state(), alone():
            sites = run(model, (x,), {}, draws=1)
        self.latents: list[Latent] = []
        for name, site in sites.items():
            frames = [(f.name, f.dim) for f in site["cond_indep_stack"] if f.dim > -2 and f.name[0] != "_"]
            if frames != [("data", -1)]:
                raise ValueError(
                    f"{who}: site {name!r} of the model lies in the plates {[f for f, _ in frames]}; put it inside "
                    'exactly one pyro.plate("data", len(x))'
                )
        for name, site in latents(sites).items():
            family = _drawn_as(exponential_family.base(site["fn"]))
            if self.supports is not None and family not in self.supports:
                raise ValueError(
                    f"{who} does not support latent site {name!r}, which is {family}; it supports "
                    f"{', '.join(self.supports)}"
                )
            self.latents.append(replace(Latent.of(name, site["fn"]), family=family))
        if not self.latents:
            raise ValueError(f"{who}: the model has no latent site; a guide needs at least one pyro.sample without obs")
        if getattr(model, "met", None) is False:
            model.meet(self)  # type: ignore[attr-defined]

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

    def members(self, part: Tensor) -> dict[str, Any]:
        """Distributions of the latents by site from numbers ``(*batch, numbers)``, of batch shape ``(*batch,)``."""
        raise NotImplementedError

    def forward(self, x: Any) -> None:
        """Draws the latents of a batch."""
        part = self.encoder(x)
        with pyro.plate("data", len(x)):
            for name, fn in self.members(part).items():
                pyro.sample(name, fn)


def _drawn_as(fn: Any) -> str:
    """The family by which a guide draws what has this prior: bits and real numbers of any law as the plainest ones."""
    if isinstance(fn, BitsDistribution):
        return "Bernoulli"
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
    return "normal" if support in (constraints.real, constraints.real_vector) else family


class Factorised(AmortisedGuide):
    r"""A guide under which all latents of a datum are independent of each other.

    .. math:: q(z \mid x) = \prod_j q_j(z_j \mid g_j(x))

    with natural parameters g from one network: a logit for a bit, a logit a state for a categorical, mean and
    log standard deviation for a normal.

    Arguments:
        model: The generative model.
        x: An example batch.
        encoder: Makes the network, from the number of its outputs.
    """

    supports = ("Bernoulli", "categorical", "one-hot categorical", "normal")

    def __init__(self, model: Callable[[Any], Any], x: Any, encoder: Callable[[int], nn.Module]) -> None:
        super().__init__(model, x)
        self.encoder = encoder(sum(map(parameters, self.latents)))

    def members(self, part: Tensor) -> dict[str, Any]:
        return independents(self.latents, part)


def parameters(latent: Latent) -> int:
    """How many numbers describe independent members of the latent's family."""
    if latent.family == "one-hot categorical":
        return latent.size
    if latent.family == "multivariate normal":
        return latent.size * (latent.size + 3) // 2
    return latent.size * {"normal": 2, "categorical": latent.states}.get(latent.family, 1)


def independent(latent: Latent, part: Tensor) -> Any:
    """Independent members of the latent's family from their parameters, ``(..., parameters(latent))``.

    A multivariate normal has its mean, the logarithms of its Cholesky factor's diagonal, and what lies below.
    """
    lead, events = part.shape[:-1], len(latent.shape)
    if latent.family == "normal":
        loc, log_scale = part.reshape(*lead, 2, *latent.shape).unbind(len(lead))
        return dist.Normal(loc, log_scale.exp()).to_event(events)
    if latent.family == "multivariate normal":
        size = latent.size
        loc, log_diagonal, coupling = part.split([size, size, size * (size - 1) // 2], -1)
        row, column = torch.tril_indices(size, size, -1, device=part.device)
        below = part.new_zeros(*lead, size, size)
        below[..., row, column] = coupling
        return reshaped(dist.MultivariateNormal(loc, scale_tril=log_diagonal.exp().diag_embed() + below), latent.shape)
    if latent.family == "Bernoulli":
        return dist.Bernoulli(logits=part.reshape(*lead, *latent.shape)).to_event(events)
    if latent.family == "categorical":
        return dist.Categorical(logits=part.reshape(*lead, *latent.shape, latent.states)).to_event(events)
    return dist.OneHotCategorical(logits=part.reshape(*lead, *latent.shape)).to_event(events - 1)


def independents(latents: list[Latent], part: Tensor) -> dict[str, Any]:
    """Independent members by site, from the parameters of all latents side by side."""
    parts = part.split([parameters(latent) for latent in latents], -1)
    return {latent.name: independent(latent, part) for latent, part in zip(latents, parts, strict=True)}


def parameters_of(latent: Latent, fn: Any) -> Tensor:
    """What :func:`independent` makes a distribution from, ``(*batch_shape, parameters(latent))``."""
    inner, lead = exponential_family.base(fn), fn.batch_shape
    if latent.family == "multivariate normal":
        tril = inner.scale_tril
        row, column = torch.tril_indices(latent.size, latent.size, -1, device=tril.device)
        parts = [inner.loc, tril.diagonal(dim1=-2, dim2=-1).log(), tril[..., row, column]]
        return torch.cat([part.expand(*lead, part.shape[-1]) for part in parts], -1)
    if latent.family == "normal":
        parts = [part.expand(fn.shape()).reshape(*lead, -1) for part in (inner.loc, inner.scale.log())]
        return torch.cat(parts, -1)
    shape = (*fn.shape(), latent.states) if latent.family == "categorical" else fn.shape()
    logits: Tensor = inner.logits
    return logits.expand(shape).reshape(*lead, -1)


def reshaped(fn: Any, shape: torch.Size) -> Any:
    """The same distribution over values of another shape with as many numbers."""
    if shape == fn.event_shape:
        return fn
    return dist.TransformedDistribution(fn, [dist.transforms.ReshapeTransform(fn.event_shape, shape)])

"""Amortised guides: built from a model, whose prior they trace once to learn its latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import Distribution

from ppl_vae.data.inputs import Batch, Inputs, as_batch, documents, main_field
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.coupled_normal import CoupledNormal, coupled_scale_tril, couplings_of
from ppl_vae.distributions.exponential_family import Family
from ppl_vae.distributions.mapped import MappedNormal
from ppl_vae.distributions.scales import bounded_log_scale
from ppl_vae.nn.dense import ReadAs
from ppl_vae.nn.ends import start_constant
from ppl_vae.nn.modes import evaluating, probing_shapes
from ppl_vae.nn.priors import VampPrior
from ppl_vae.nn.spread import FEWEST
from ppl_vae.programs.arguments import argument_names, renamed
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.latent import Latent
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program

__all__ = [
    "AmortisedGuide",
    "INDEPENDENT",
    "Factorised",
    "Reads",
    "independent",
    "independents",
    "parameter_count",
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
    is_image = isinstance(main_field(x), Tensor) and len(main_field(x).shape) in (3, 4)
    if not {"any": True, "documents": documents(x) is not None, "images": is_image}[reads]:
        data = "documents" if documents(x) is not None else f"tensors of shape {tuple(main_field(x).shape[1:])}"
        raise ValueError(
            f"{guide} reads {_READS[reads]}, but the data are {data}; choose another guide (--guide), or another "
            "corpus and model"
        )


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
        x: An example batch of its data, read for its shapes and, from 16 data on, for the location and spread of its
            numbers.

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
        # The encoder knows the fields by name or by position, as the example has them.
        self._arguments, self._is_named = argument_names(model), isinstance(x, Inputs) and bool(x.kwargs)
        _check_reads(who, self.reads, x)
        with evaluating(model), fork_random_state(), probing_shapes(), torch.enable_grad():
            sites = run(model, (x,), {}, draws=1, training=True)  # a learned support shows in the graph
        self.latents: list[Latent] = []
        self._starts: list[Tensor | float | None] = []
        for name, site in sites.items():
            frames = [(f.name, f.dim) for f in site["cond_indep_stack"] if f.dim > -2 and f.name[0] != "_"]
            if frames != [("data", -1)]:
                raise ValueError(
                    f"{who}: site {name!r} of the model lies in the plates {[f for f, _ in frames]}; put it inside "
                    'exactly one pyro.plate("data", len(x))'
                )
        for name, site in latents(sites).items():
            latent = Latent.drawn_by_guides(name, site["fn"])
            if self.supports is not None and latent.family not in self.supports:
                prior = exponential_family.family(site["fn"])
                raise ValueError(
                    f"{who} does not support latent site {name!r}, which is {prior}; it supports "
                    f"{', '.join(self.supports)}" + _or_mean_field(latent)
                )
            self.latents.append(latent)
            self._starts.append(latent.start(site["fn"]))
        if not self.latents:
            raise ValueError(f"{who}: the model has no latent site; a guide needs at least one pyro.sample without obs")
        # Of bits and categoricals no count, however large, brings a parameter out of bounds.
        self.reads_counts: ReadAs = "counts" if all(start is None for start in self._starts) else "shrunk"
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

    def near_prior(self, encoder: nn.Module, x: Batch) -> nn.Module:
        """The encoder, begun where latents other than bits and categoricals are near their prior for all data.

        Far from it the first bounds of a pair may be so low that it never recovers. With a small example it stays as it
        is initialised.
        """
        first = 0
        for latent, start in zip(self.latents, self._starts, strict=True):
            outputs = slice(first, first := first + parameter_count(latent))
            if start is not None and len(x) >= FEWEST:
                start_constant(encoder, outputs, start)
        return encoder

    def members(self, parameters: Tensor) -> dict[str, Distribution]:
        """Distributions of the latents by site, of batch shape ``(*batch,)``, from ``(*batch, parameters)``."""
        raise NotImplementedError

    def forward(self, *args: object, **kwargs: object) -> None:
        """Draws the latents of a batch, given as to the model."""
        x = as_batch(*args, **kwargs)
        if isinstance(x, Inputs) and bool(x.kwargs) != self._is_named:
            x = renamed(x, self._arguments, self._is_named)
        parameters = self.encoder(x)
        with pyro.plate("data", len(x)):
            for name, fn in self.members(parameters).items():
                pyro.sample(name, fn)


INDEPENDENT = (
    Family.BERNOULLI,
    Family.CATEGORICAL,
    Family.ONE_HOT,
    Family.NORMAL,
    Family.POISSON,
    Family.GEOMETRIC,
    Family.NEGATIVE_BINOMIAL,
    Family.BINOMIAL,
    Family.VON_MISES,
)
"""Families of which :func:`independent` makes distributions."""


def _or_mean_field(latent: Latent) -> str:
    return "; use mean_field" if latent.family in INDEPENDENT else ""


class Factorised(AmortisedGuide):
    r"""A guide under which all latents of a datum are independent of each other.

    .. math:: q(z \mid x) = \prod_j q_j(z_j \mid g_j(x))

    with parameters g from one encoder. The family of a latent follows from its prior: bits, categoricals, counts
    (Poisson, geometric, negative binomial, binomial) and angles (von Mises) are drawn from the prior's family, real
    numbers from a normal, and every other continuous latent (positive, in an interval, on a simplex, ...) as normal
    numbers mapped to its support, as Pyro's autoguides do. Counts without a largest one, and angles, have gradients by
    their scores.

    Arguments:
        model: The generative model.
        x: An example batch.
        encoder: Makes the encoder from the number of its outputs.
    """

    supports = INDEPENDENT

    def __init__(self, model: Program, x: Batch, encoder: Callable[[int], nn.Module]) -> None:
        super().__init__(model, x)
        self.encoder = self.near_prior(encoder(sum(map(parameter_count, self.latents))), x)

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
    return latent.size * (2 if latent.family in (Family.NORMAL, Family.NEGATIVE_BINOMIAL, Family.VON_MISES) else 1)


def independent(latent: Latent, parameters: Tensor) -> Distribution:
    """A distribution of one latent, independent of the others, from ``(..., parameter_count(latent))``.

    The parameters are logits; of normals the means, then the logarithms of the standard deviations, also where normal
    numbers are mapped to the support; of a multivariate normal the means, the logarithms of the Cholesky factor's
    diagonal, and the entries below it in units of the diagonal of their row; of a Poisson the logarithm of its rate; of
    a negative binomial the logarithms of the total counts, then the logits; of von Mises the natural parameters,
    concentration times cosine and sine of the mean. Logarithms of deviations are bounded
    (:func:`~ppl_vae.distributions.scales.bounded_log_scale`).
    """
    lead, events = parameters.shape[:-1], len(latent.shape)
    fn: Distribution
    if latent.family == Family.NORMAL:
        loc, log_scale = parameters.reshape(*lead, 2, *latent.inner).unbind(len(lead))
        scale = bounded_log_scale(log_scale, latent.unit).exp()
        if latent.support is None:
            fn = dist.Normal(loc, scale).to_event(events)
        else:
            fn = MappedNormal(loc, scale, latent.support)
    elif latent.family == Family.MULTIVARIATE_NORMAL:
        size = latent.size
        loc, log_diagonal, coupling = parameters.split([size, size, size * (size - 1) // 2], -1)
        scale = bounded_log_scale(log_diagonal, latent.unit).exp()
        fn = CoupledNormal(loc, scale_tril=coupled_scale_tril(scale, coupling))
        fn = latent.onto(fn)
    elif latent.family == Family.BERNOULLI:
        fn = dist.Bernoulli(logits=parameters.reshape(*lead, *latent.shape)).to_event(events)
    elif latent.family == Family.CATEGORICAL:
        fn = dist.Categorical(logits=parameters.reshape(*lead, *latent.shape, latent.states)).to_event(events)
    elif latent.family == Family.ONE_HOT:
        fn = dist.OneHotCategorical(logits=parameters.reshape(*lead, *latent.shape)).to_event(events - 1)
    else:
        fn = _counts_or_angles(latent, parameters.reshape(*lead, -1, *latent.shape).unbind(len(lead))).to_event(events)
    return fn


def _counts_or_angles(latent: Latent, parameters: Sequence[Tensor]) -> TorchDistribution:
    if latent.family == Family.POISSON:
        return dist.Poisson(parameters[0].exp())
    if latent.family == Family.GEOMETRIC:
        return dist.Geometric(logits=parameters[0])
    if latent.family == Family.BINOMIAL:
        return dist.Binomial(latent.states - 1, logits=parameters[0])
    if latent.family == Family.NEGATIVE_BINOMIAL:
        return dist.NegativeBinomial(parameters[0].exp(), logits=parameters[1])
    # Not quite at zero, where guides start: an angle has no slope there, and torch's density none in single precision.
    along, across = parameters[0] + 0.01, parameters[1]
    return dist.VonMises(torch.atan2(across, along), (along.square() + across.square() + 1e-6).sqrt())


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
        parts = [inner.loc, tril.diagonal(dim1=-2, dim2=-1).log(), couplings_of(tril)]
        return torch.cat([part.expand(*lead, part.shape[-1]) for part in parts], -1)
    if latent.family == Family.NORMAL:
        shape = torch.Size((*lead, *latent.inner))
        parts = [part.expand(shape).reshape(*lead, -1) for part in (inner.loc, inner.scale.log())]
        return torch.cat(parts, -1)
    logits: Tensor = inner.logits
    return logits.expand((*shape, latent.states) if latent.family == Family.CATEGORICAL else shape).reshape(*lead, -1)

"""Pyro's autoguides as guides of single data, on the data that they were trained on."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.infer import autoguide
from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.distributions.mapped import MappedNormal
from ppl_vae.programs.arguments import arguments
from ppl_vae.programs.latent import Latent
from ppl_vae.programs.types import Program

__all__ = ["meet_data", "refuse_autoguide", "without_autoguide"]

_AMORTISED = {
    autoguide.AutoMultivariateNormal: "full",
    autoguide.AutoLowRankMultivariateNormal: "low_rank",
    autoguide.AutoNormalizingFlow: "flow",
}
"""The guide of this package that does for any datum what an autoguide does for fixed data; mean_field for others."""


def meet_data(program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Lets an autoguide that is to be trained make its parameters, by a call with all data."""
    if isinstance(program, autoguide.AutoGuide) and program.prototype_trace is None:
        args, kwargs = arguments(program, args, kwargs)
        with poutine.block():
            program(*args, **kwargs)


def without_autoguide(program: Program, *, training: bool = False) -> Program:
    """The program itself, or an autoguide as a guide with parameters of its own for each datum.

    ``AutoNormal`` and ``AutoDiagonalNormal`` draw every latent by itself, as normal numbers mapped to its support: on
    the data that they were trained on they are guides of single data with nothing to amortise. A datum is known by its
    values; equal data have the parameters of the first.

    Arguments:
        program: A model or guide.
        training: Whether an objective runs it; a point estimate is then what Pyro means by ``AutoDelta``.

    Raises:
        ValueError: If it is an autoguide of another kind, naming it and its amortised equivalent; or untrained.
    """
    if not isinstance(program, autoguide.AutoGuide):
        return program
    name, remedy = _name(type(program)), _remedy(type(program))
    of_single_data = isinstance(program, (autoguide.AutoNormal, autoguide.AutoDiagonalNormal))
    if not of_single_data and not isinstance(program, autoguide.AutoDelta):
        raise ValueError(
            f"{name} draws the latents of all data together, so that no datum has a guide, and a density, of its own; "
            f"{remedy}"
        )
    if not of_single_data and not training:
        raise ValueError(f"{name} is a point without a density, so that its ELBO is no bound on the evidence; {remedy}")
    if program.prototype_trace is None:
        raise ValueError(f"{name} has not seen data yet: call it with all data, and train it, before it is measured")
    return _known.setdefault(program, _OfSingleData(program)) if of_single_data else program


def refuse_autoguide(program: object) -> None:
    """Refuses an autoguide where a training takes batches and measures held-out data.

    Raises:
        ValueError: Naming it and its amortised equivalent.
    """
    kind = program if isinstance(program, type) else type(program)
    if issubclass(kind, autoguide.AutoGuide):
        raise ValueError(
            f"{_name(kind)} has parameters for the data of its first call only, but a run trains on batches and "
            f"measures held-out data; {_remedy(kind)}, or train it by Pyro's SVI and measure those data (pv.measure)"
        )


def _name(guide: type) -> str:
    return next(kind.__name__ for kind in guide.__mro__ if kind.__module__.startswith("pyro."))


def _remedy(guide: type) -> str:
    known = (name for kind, name in _AMORTISED.items() if issubclass(guide, kind))
    return f"use the amortised guide {next(known, 'mean_field')}"


class _OfSingleData:
    """An autoguide of independent normal numbers, run on some of the data it knows."""

    def __init__(self, guide: autoguide.AutoGuide) -> None:
        self._guide = weakref.ref(guide)
        self.name, self.remedy = _name(type(guide)), _remedy(type(guide))
        self.places: dict[bytes, int] = {}
        self.plate = ""

    @property
    def guide(self) -> autoguide.AutoGuide:
        """The autoguide, which is not kept alive."""
        return self._guide()

    def __call__(self, *args: object, **kwargs: object) -> None:
        guide = self.guide
        sites = dict(guide.prototype_trace.iter_stochastic_nodes())
        size = self._size(sites)
        rows = self._rows(size, *args, **kwargs)
        with guide._pyro_context:  # in which Pyro sees that parameters are used
            parameters = self._parameters(sites)
        for name, (loc, scale) in parameters.items():
            if not sites[name]["cond_indep_stack"]:
                pyro.sample(name, _made(name, sites[name]["fn"], loc, scale))
        with pyro.plate("data", len(rows)):
            for name, (loc, scale) in parameters.items():
                if sites[name]["cond_indep_stack"]:
                    pyro.sample(name, _made(name, sites[name]["fn"], loc[rows], scale[rows]))

    def _size(self, sites: dict[str, Any]) -> int:
        """Number of data the guide has parameters for."""
        sizes = set()
        for name, site in sites.items():
            frames = site["cond_indep_stack"]
            if len(frames) > 1 or any(frame.dim != -1 for frame in frames):
                raise ValueError(
                    f"{self.name}: site {name!r} lies in several plates, {[frame.name for frame in frames]}, or "
                    f"not in the last dimension; {self.remedy}"
                )
            if any(frame.full_size not in (None, frame.size) for frame in frames):
                raise ValueError(
                    f"{self.name} was trained on subsamples of plate {frames[0].name!r}, so that it is not known "
                    f"which parameters are whose; {self.remedy}"
                )
            sizes |= {frame.size for frame in frames}
            self.plate = frames[0].name if frames else self.plate
        if len(sizes) != 1:
            raise ValueError(
                f"{self.name} has latents in plates of sizes {sorted(sizes)}, of which none is known to be that "
                f"of the data; {self.remedy}"
            )
        return int(sizes.pop())

    def _rows(self, size: int, *args: object, **kwargs: object) -> Tensor:
        """Positions of data among those the guide was trained on."""
        first = self.guide.prototype_trace.nodes["_INPUT"]
        known, asked = _fields(size, first["args"], first["kwargs"]), _fields(None, args, kwargs)
        if not known:
            raise ValueError(
                f"{self.name} has parameters for {size} rows of plate {self.plate!r}, but was called without tensors "
                f"of {size} rows by which to know them: if these are latents that all data share, write a guide of "
                f"them and of those of single data; else {self.remedy}"
            )
        if len(known) == len(asked) and all(map(_same, asked, known)):
            return torch.arange(size, device=known[0].device)
        if not self.places:
            self.places = {row: place for place, row in reversed(list(enumerate(_bytes(known))))}
        rows = [self.places.get(row) for row in _bytes(asked)]
        if None in rows:
            raise ValueError(
                f"{self.name} has parameters for the {size} data it was trained on, and {rows.count(None)} of "
                f"these {len(rows)} data are none of them; measure those, or {self.remedy}"
            )
        return torch.tensor(rows, device=known[0].device)

    def _parameters(self, sites: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
        """Means and standard deviations of the normal numbers by site, with the shape of its plates first."""
        guide = self.guide
        if isinstance(guide, autoguide.AutoNormal):
            return {name: (attrgetter(name)(guide.locs), attrgetter(name)(guide.scales)) for name in sites}
        loc, scale = guide._loc_scale()
        shapes = [guide._unconstrained_shapes[name] for name in sites]
        parts = [flat.split([shape.numel() for shape in shapes]) for flat in (loc, scale)]
        return {
            name: (mean.reshape(shape), deviation.reshape(shape))
            for name, shape, mean, deviation in zip(sites, shapes, *parts, strict=True)
        }


_known: weakref.WeakKeyDictionary[autoguide.AutoGuide, _OfSingleData] = weakref.WeakKeyDictionary()


def _made(name: str, prior: TorchDistribution, loc: Tensor, scale: Tensor) -> Distribution:
    """The distribution of normal numbers mapped to the support of a prior."""
    support = Latent.drawn_by_guides(name, prior).support
    if support is None:
        fn: Distribution = dist.Normal(loc, scale).to_event(prior.event_dim)
        return fn
    return MappedNormal(loc, scale, support)


def _fields(size: int | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors with a row per datum among arguments; with any number of rows where the size is not known."""
    tensors = [value for value in (*args, *(kwargs[key] for key in sorted(kwargs))) if isinstance(value, Tensor)]
    return [value for value in tensors if value.ndim and size in (None, len(value))]


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))


def _bytes(fields: list[Tensor]) -> list[bytes]:
    """The rows of all fields, each as it lies in memory."""
    columns = [[row.tobytes() for row in field.detach().cpu().contiguous().numpy()] for field in fields]
    return [b"".join(row) for row in zip(*columns, strict=True)]

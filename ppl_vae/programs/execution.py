"""One run of a Pyro program for many samples at once, given its layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from copy import copy
from typing import Any, TypeGuard

import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.poutine.broadcast_messenger import BroadcastMessenger
from pyro.poutine.indep_messenger import CondIndepStackFrame, IndepMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.plate_messenger import PlateMessenger
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Inputs
from ppl_vae.distributions.shapes import broadcast_shapes
from ppl_vae.programs.arguments import call
from ppl_vae.programs.canonical import DRAWS, Canonical, Layout
from ppl_vae.programs.densities import InOrder, Site, is_density, is_deterministic, unscaled
from ppl_vae.programs.flat_prior import FlatDraws
from ppl_vae.programs.given import Fixed
from ppl_vae.programs.parameters import LocalParameters
from ppl_vae.programs.rearranged import CannotRebuildError, Rearranged, rebuilt
from ppl_vae.programs.unobserved import MasksOfDraws, unmasked

__all__ = ["Arguments", "Sites", "SubstituteLatents", "execute", "latents", "length", "observations", "rows_of"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a program."""


class Sites(dict[str, Site]):
    """The sample sites of a run by name, and the indices of subsampling plates.

    Arguments:
        sites: The sites by name.
        indices: The indices by plate, so that a model sees the same data as its guide.
    """

    def __init__(self, sites: Mapping[str, Site], indices: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(sites)
        self.indices = dict(indices or {})

    def values_of_latents(self) -> dict[str, Tensor]:
        """Latents and indices by name, to be substituted in another program."""
        return {name: site["value"] for name, site in latents(self).items()} | self.indices


class SubstituteLatents(Messenger):
    """Substitutes values of latent sites by name and keeps their distributions."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Site) -> None:
        if not msg["is_observed"] and msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]


class _DrawsPlate(PlateMessenger):
    """The plate of the samples, which holds all of them: no statement of its own is run."""

    def __init__(self, draws: int, dim: int) -> None:
        IndepMessenger.__init__(self, DRAWS, draws, dim)
        self.subsample_size = draws
        self._frame = CondIndepStackFrame(DRAWS, dim, draws, 0, draws)

    def _process_message(self, msg: Site) -> None:
        msg["cond_indep_stack"] = (self._frame, *msg["cond_indep_stack"])
        shape: torch.Size | tuple[()] = getattr(msg["fn"], "batch_shape", ())
        # Pyro's plate makes every distribution anew, even one that has its dimension.
        if len(shape) < -self.dim or shape[self.dim] != self.size:
            single = msg["fn"]
            BroadcastMessenger._pyro_sample(msg)
            if len(shape) == -self.dim - 1 and msg["fn"] is not single:
                msg["fn"].of_a_draw = single


def latents(sites: Mapping[str, Site]) -> dict[str, Site]:
    """The unobserved sites of a program."""
    return {name: site for name, site in sites.items() if not site["is_observed"]}


def observations(sites: Mapping[str, Site]) -> dict[str, Site]:
    """The observed sites of a program."""
    return {name: site for name, site in sites.items() if site["is_observed"]}


def length(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """Number of data of the first argument that has a length; None if none has."""
    return next((len(a) for a in (*args, *kwargs.values()) if _has_rows(a)), None)


def rows_of(args: tuple[Any, ...], kwargs: Mapping[str, Any], rows: Tensor, count: int) -> Arguments:
    """The arguments with these rows of each that has as many as there are data."""

    def taken(value: object) -> object:
        if not _has_rows(value) or len(value) != count:
            return value
        return value[rows.to(value.device)]

    return tuple(map(taken, args)), {name: taken(value) for name, value in kwargs.items()}


def _has_rows(value: object) -> TypeGuard[PackedCounts | Inputs | Tensor]:
    return isinstance(value, PackedCounts | Inputs) or (isinstance(value, Tensor) and value.ndim > 0)


def execute(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    layout: Layout,
    *,
    draws: int,
    handler: Messenger | None = None,
    training: bool = False,
    opaque: set[str] | None = None,
) -> Sites:
    """The sample sites of a program with this layout, as :func:`~ppl_vae.programs.handlers.run` returns them.

    Sites whose distributions turn out not to be given by their parameters are put into ``opaque``.
    """
    if layout.vectorise == "loop":
        return _looped(program, args, kwargs, layout, draws, handler, training)
    left = layout.vectorise == "left"
    if not left and draws > 1 and (count := length(args, kwargs)) is not None:
        args, kwargs = rows_of(args, kwargs, torch.arange(count).repeat(draws), count)
    handlers = [
        LocalParameters(),
        tracer := poutine.trace(),
        None if training and left else InOrder(length(args, kwargs)),
        handler,
        None if layout.shows_sites_as_they_are else Canonical(layout, draws, training, opaque),
        _DrawsPlate(draws, -layout.plates - 1) if left else None,
        MasksOfDraws() if layout.masked else None,
    ]
    with ExitStack() as stack:
        for each in filter(None, handlers):
            stack.enter_context(each)
        call(program, args, kwargs)
    sites = {name: site for name, site in tracer.trace.nodes.items() if site["type"] == "sample"}
    indices = {name: site["value"] for name, site in sites.items() if poutine.util.site_is_subsample(site)}
    drawn = {name: site for name, site in sites.items() if name not in indices and not is_deterministic(site)}
    if not training:
        drawn = {name: unscaled(site) for name, site in unmasked(drawn).items() if is_density(site)}
    return Sites(drawn, {name: value for name, value in indices.items() if len(value) < sites[name]["fn"].size})


def _looped(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    layout: Layout,
    draws: int,
    handler: Messenger | None,
    training: bool,
) -> Sites:
    """The sites of one run for each sample, put together."""
    single, runs = layout.turn("fold"), []
    for row in range(draws):
        runs.append(execute(program, args, kwargs, single, draws=1, handler=_row(handler, row), training=training))
        if set(runs[row]) != set(runs[0]):
            raise ValueError(
                f"the program has other sites ({sorted(set(runs[row]) ^ set(runs[0]))}) for other samples of its "
                "latents; let every run have the same sites, masked where they do not count"
            )
    if draws == 1:
        return runs[0]
    return Sites({name: _joined([sites[name] for sites in runs], layout) for name in runs[0]}, runs[0].indices)


def _row(handler: Messenger | None, row: int) -> Messenger | None:
    """The handler of one sample among many."""
    if handler is None or type(handler) is Messenger:
        return None
    if isinstance(handler, Fixed | FlatDraws):
        around = copy(handler)
        around.handler = _row(handler.handler, row) or Messenger()
        return around
    if getattr(handler, "draws_apart", False):
        return None
    if not isinstance(handler, SubstituteLatents):
        raise ValueError(
            "the program runs once per sample (vectorise='loop'), but this estimator draws the samples of a site "
            "together: take the estimator loo, which does not, or let the program take samples as a dimension on the "
            "left (x[..., 0] instead of x[:, 0]) or repeated data"
        )
    # Indices of subsampling plates have one dimension, the same for every sample.
    single = copy(handler)
    single.values = {n: v[row : row + 1] if v.ndim > 1 and len(v) > 1 else v for n, v in handler.values.items()}
    return single


def _joined(sites: list[Site], layout: Layout) -> Site:
    first, fns = sites[0], [site["fn"] for site in sites]
    shape = broadcast_shapes(*[fn.batch_shape for fn in fns])

    def beside(parts: Sequence[Tensor], events: int) -> Tensor:
        return torch.cat(list(parts))

    def apart(value: Tensor, events: int) -> list[Tensor]:
        events += 2
        shared = not isinstance(value, Tensor) or value.ndim < events or len(value) == 1
        return [value if shared else value[row : row + 1] for row in range(len(sites))]

    fn: TorchDistribution | None = None
    if first["name"] not in layout.opaque:
        with suppress(CannotRebuildError):
            fn = rebuilt(fns, beside, shape)
    values, masks = ([site[key] for site in sites] for key in ("value", "mask"))
    if not isinstance(values[0], Tensor):
        value = values[0]
    elif first["is_observed"]:
        same = all(torch.equal(v, values[0]) for v in values)
        value = values[0] if same else torch.stack([v.expand(shape[1:] + fns[0].event_shape) for v in values])
    else:
        value = torch.cat([v.expand(1, *v.shape[1:]) for v in values])
    if isinstance(masks[0], Tensor):
        masks[0] = torch.cat([mask.expand(shape) for mask in masks])
    draws = first["cond_indep_stack"][0]._replace(size=len(sites))
    return {
        **first,
        "fn": fn if fn is not None else Rearranged(fns, beside, apart, shape, 0),
        "value": value,
        "mask": masks[0],
        "cond_indep_stack": (draws, *first["cond_indep_stack"][1:]),
    }

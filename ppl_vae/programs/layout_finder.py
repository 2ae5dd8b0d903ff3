"""The layout of a program, found by a few runs on a few data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.distributions import exponential_family
from ppl_vae.nn.modes import evaluation_mode
from ppl_vae.programs.arguments import ChangedDataError, call
from ppl_vae.programs.canonical import Layout, Vectorise
from ppl_vae.programs.densities import InOrder, Site, agree, is_deterministic, unvalidated
from ppl_vae.programs.execution import Arguments, Sites, SubstituteLatents, execute, latents, length, rows_of
from ppl_vae.programs.in_place import AsWritten
from ppl_vae.programs.parameters import LocalParameters
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.unobserved import masks_of_draws

__all__ = ["REFUSED", "LayoutFinder"]

REFUSED = (ValueError, RuntimeError, IndexError, TypeError, NotImplementedError, AssertionError)
"""Errors of programs that meet shapes they were not written for."""

_FEW = torch.arange(3)
_MORE = torch.tensor([0, 1, 2, 0, 1])
"""Repeats rows, so that nothing but the number of data changes: not the length of the longest document."""


class LayoutFinder:
    """Finds the layout of a program.

    Arguments:
        program: A model or guide.
        args: Its arguments.
        kwargs: Its keyword arguments.
        plate: Name of the plate over data; None finds it.
        vectorise: How it takes many samples; None tries the ways in turn.
    """

    def __init__(
        self,
        program: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        plate: str | None,
        vectorise: Vectorise | None,
    ) -> None:
        self.program, self.args, self.kwargs, self.plate, self.vectorise = program, args, kwargs, plate, vectorise
        self.count = length(args, kwargs)
        self.opaque: set[str] = set()

    def find(self) -> Layout:
        store = pyro.get_param_store()
        with fork_random_state(), evaluation_mode(self.program), torch.no_grad(), poutine.block(), store.scope():
            few, sites, grown = self._probe()
            if isinstance(sites, Exception):
                return Layout(failure=sites)
            masked = any(masks_of_draws(site["fn"]) for site in sites.values() if not site["is_observed"])
            layout = replace(self._plates(sites, grown, length(*few)), masked=masked)
            return self._vectorised(layout, few, sites)

    def _probe(self) -> tuple[Arguments, dict[str, Site] | Exception, dict[str, Site] | None]:
        """Sites of a run on three data and on five, or of one on all of them."""
        whole = self.args, self.kwargs
        if self.count:
            three, five = (rows_of(*whole, rows % self.count, self.count) for rows in (_FEW, _MORE))
            try:
                return three, self._sites(three), self._sites(five)
            except ChangedDataError:  # of copies, so far
                raise
            except REFUSED:
                pyro.get_param_store().clear()
        try:
            return whole, self._sites(whole), None
        except REFUSED as error:
            return whole, error, None

    def _sites(self, taken: Arguments) -> dict[str, Site]:
        """The sites of a run as the program has them; stores are cleared, as parameters may have a row per datum."""
        pyro.get_param_store().clear()
        with LocalParameters(), poutine.trace() as tracer, InOrder(None), AsWritten() as written:
            try:
                call(self.program, *taken)
            except (IndexError, RuntimeError, ValueError) as error:
                _refuse_own_rows(error, tracer.trace.nodes, length(*taken))
                raise
        written.check()
        sites = {
            name: site
            for name, site in tracer.trace.nodes.items()
            if site["type"] == "sample" and not poutine.util.site_is_subsample(site) and not is_deterministic(site)
        }
        for site in sites.values():
            if site["is_observed"]:
                _check_shapes(site)
        return sites

    def _plates(self, sites: Mapping[str, Site], grown: Mapping[str, Site] | None, count: int | None) -> Layout:
        """The plates over data: those whose size is the number of data."""
        frames = {f.name: f for site in sites.values() for f in site["cond_indep_stack"]}
        plates = max((-f.dim for f in frames.values() if f.dim is not None), default=0)
        others = {f.name: f for site in (grown or {}).values() for f in site["cond_indep_stack"]}
        over_data = {
            name: f
            for name, f in frames.items()
            if (
                f.size == count and (grown is None or (name in others and others[name].size == len(_MORE)))
                if count is not None
                else f.name == "data"
            )
        }
        if unsized := not over_data and count is not None:
            over_data = _without_size(frames, (sites, count), (grown or {}, len(_MORE)))
        if grown is None and not over_data:
            over_data = {name: f for name, f in frames.items() if f.full_size == count}
        if self.plate is not None:
            if self.plate not in frames and "data" not in over_data:  # as the shipped guides call it
                raise ValueError(f"there is no plate {self.plate!r}; the program's plates are {sorted(frames)}")
            name = self.plate if self.plate in frames else "data"
            over_data = {n: f for n, f in over_data.items() if f.dim == frames[name].dim} | {name: frames[name]}
        over_data = self._one(over_data)
        stacks = [[(f.name, f.dim) for f in site["cond_indep_stack"]] for site in sites.values()]
        rows = count if grown is None and over_data else None
        drawn = frozenset(
            (name, tuple(sorted(f.dim for f in site["cond_indep_stack"] if f.dim is not None)))
            for name, site in sites.items()
            if not site["is_observed"]
        )
        elsewhere = () if over_data else tuple((name, f.size) for name, f in frames.items())
        if all(stack == [("data", -1)] for stack in stacks) and not (unsized and over_data):
            names = frozenset({"data"})
            return Layout(1, names=names, canonical=True, latents=drawn, rows=rows, others=elsewhere)
        if not over_data:
            return Layout(max(plates, 1), others=elsewhere)
        fixed = grown is not None and any(f.full_size == others[n].full_size for n, f in over_data.items())
        return Layout(
            plates,
            names=frozenset(over_data),
            dim=next(iter(over_data.values())).dim or 0,
            loops=any(dim is None for stack in stacks for _, dim in stack),
            outside=not all({name for name, _ in stack} & set(over_data) for stack in stacks),
            rows=rows,
            latents=drawn,
            fixed=fixed,
        )

    def _one(self, over_data: Mapping[str, CondIndepStackFrame]) -> dict[str, CondIndepStackFrame]:
        """Those of one dimension: several plates of one size there count as one.

        Raises:
            ValueError: If there are several dimensions to choose from, or the plate is a Python loop.
        """
        for name, frame in over_data.items():
            if frame.dim is None:
                raise ValueError(
                    f"plate {name!r} over data is a Python loop; write `with pyro.plate({name!r}, len(x)):`, so that "
                    "all data are computed at once"
                )
        dims = {f.dim for f in over_data.values()}
        if len(dims) > 1:
            named = [f for f in over_data.values() if f.name == "data"]
            if not named:
                raise ValueError(
                    f"plates {sorted(over_data)} all have the number of data as their size: name the one over data, as "
                    f"plate={sorted(over_data)[0]!r} (--plate {sorted(over_data)[0]})"
                )
            dims = {named[0].dim}
        return {name: f for name, f in over_data.items() if f.dim in dims}

    def _vectorised(self, layout: Layout, few: Arguments, sites: Mapping[str, Site]) -> Layout:
        """The layout with the first way of taking two samples that agrees with two runs of one sample each.

        The sites of one such run are known.
        """
        if not layout.names:
            return layout
        if layout.canonical and self.vectorise is None:
            try:
                runs = [Sites(sites), Sites(self._sites(few))]
                if _agree(self._run(layout, few, 2, _values(runs, torch.stack)), runs):
                    return layout
            except REFUSED:  # told below, if it is the program's fault
                pass
        single = layout.turn("fold")
        try:
            alone = [self._run(single, few, 1) for _ in range(2)]
            _agree(alone[0], alone[:1])  # fails where a site cannot be scored
        except REFUSED as error:
            return replace(layout, failure=error)
        values = _values(alone, torch.cat)
        if self.vectorise is not None:
            return self._chosen(layout.turn(self.vectorise))
        ways: tuple[Vectorise, ...] = ("left", "fold") if self.count else ("left",)
        for way in ways:
            try:
                if _agree(self._run(layout.turn(way), few, 2, values), alone):
                    return self._chosen(layout.turn(way))
            except REFUSED:
                continue
        again = self._run(single, few, 1, {name: value[:1] for name, value in values.items()})
        if not _agree(again, alone[:1]):
            return layout  # random outside its sites, which a measurement refuses
        return self._chosen(layout.turn("loop"))

    def _chosen(self, layout: Layout) -> Layout:
        return replace(layout, opaque=frozenset(self.opaque))

    def _run(self, layout: Layout, few: Arguments, draws: int, values: Mapping[str, Tensor] | None = None) -> Sites:
        pyro.get_param_store().clear()
        handler = SubstituteLatents(values) if values is not None else Messenger()
        with InOrder(None):
            return execute(self.program, *few, layout, draws=draws, handler=handler, training=True, opaque=self.opaque)


def _without_size(
    frames: Mapping[str, CondIndepStackFrame], *runs: tuple[Mapping[str, Site], int]
) -> dict[str, CondIndepStackFrame]:
    """The plate without a size, ``pyro.plate("data")``, if it is the only one and its sites have a row per datum."""
    unsized = {name: f for name, f in frames.items() if f.size == -1 and f.dim is not None}
    rows = [
        site["fn"].batch_shape[f.dim :][:1] == (count,)
        for sites, count in runs
        for site in sites.values()
        for f in site["cond_indep_stack"]
        if f.name in unsized
    ]
    return unsized if len(unsized) == 1 and all(rows) and runs[-1][0] else {}


def _refuse_own_rows(error: Exception, sites: Mapping[str, Site], count: int | None) -> None:
    """Says of a program that fails with fewer data than a plate has that it takes rows of its own."""
    plates = [site for site in sites.values() if poutine.util.site_is_subsample(site)]
    for site in plates if re.search("index|subsample|shape", str(error)) else ():
        size, taken = site["fn"].size, len(site["value"])
        if count is not None and count < taken and (taken < size or len(plates) == 1):
            rows = f"{taken} of {size} rows" if taken < size else f"{taken} rows"
            raise ValueError(
                f"plate {site['name']!r} takes {rows}, but a program is given the rows of a batch alone, here {count}, "
                f"and scores each: write pyro.plate({site['name']!r}, len(x)), or subsample_size=len(x) where its size "
                "is that of all data, and observe x as it is, without an index or pyro.subsample"
            ) from error


def _check_shapes(site: Site) -> None:
    """Refuses an observed value of another shape than its distribution, as data of another number have."""
    fn, value = unvalidated(site["fn"]), site["value"]
    try:
        fn.log_prob(value)
    except (ValueError, RuntimeError) as error:
        shape = f"the observed value {tuple(value.shape)}" if isinstance(value, Tensor) else "the observed value"
        raise type(error)(
            f"site {site['name']!r}: its distribution has batch shape {tuple(fn.batch_shape)} and event shape "
            f"{tuple(fn.event_shape)}, but {shape} does not fit: {error}"
        ) from error


def _values(runs: list[Sites], join: Callable[[list[Tensor]], Tensor]) -> dict[str, Tensor]:
    """Latents of several runs, put together as several samples."""
    return {name: join([sites[name]["value"] for sites in runs]) for name in latents(runs[0]) if name in runs[1]}


def _agree(together: Sites, alone: list[Sites]) -> bool:
    """Whether the log-densities of samples taken together are those of each taken alone."""
    if any(set(sites) != set(together) for sites in alone):
        return False
    for name in together:
        one, *others = (_log_prob(sites[name]) for sites in (together, *alone))
        events = [sites[name]["fn"].event_shape for sites in (together, *alone)]
        # Those of a run without a dimension of samples are (data,).
        apart = torch.cat([d[None] if d.ndim == 1 else d.expand(1, *d.shape[1:]) for d in others])
        one, apart = torch.broadcast_tensors(one, apart)
        if len(set(events)) > 1 or not agree(one, apart):
            return False
    return True


def _log_prob(site: Site) -> Tensor:
    """Log-density, ``(draws or 1, data or 1)``, whose scale does not matter."""
    density = exponential_family.log_prob(unvalidated(site["fn"]), site["value"])
    if isinstance(site["mask"], Tensor):
        density = torch.where(site["mask"], density, 0.0)
    return density[(None,) * max(0, 2 - density.ndim)]

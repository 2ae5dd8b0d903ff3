"""How a program samples each of its latents, as one run shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

import torch
from pyro import poutine
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.canonical_forms import Family
from ppl_vae.distributions.state_tables import number_and_states, support_of
from ppl_vae.nn.modes import evaluating, evaluation_mode
from ppl_vae.programs.arguments import call
from ppl_vae.programs.autoguides import meet_data, without_autoguide
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.canonical import Layout
from ppl_vae.programs.densities import InOrder, largest_value, unvalidated
from ppl_vae.programs.handlers import DRAWS, Site, SubstituteLatents, check_cover, latents, log_prob, run
from ppl_vae.programs.layouts import layout_of
from ppl_vae.programs.parameters import LocalParameters
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program

__all__ = ["GuideSite", "PairSites", "discrete_obstacle", "guide_sites", "model_sites"]

DRAWN = 16
"""Draws of the other latents by which a latent's states should be the same."""

_ZERO = torch.zeros(())

Kind = Literal["bits", "states", "score", "pathwise"]


@dataclass(frozen=True)
class GuideSite:
    """How a guide samples one latent site.

    Arguments:
        name: The name of the site.
        family: The family of its distribution.
        kind: ``"bits"`` (Bernoulli), ``"states"`` (another discrete family that lists its support), ``"score"``
            (any other family without reparameterised draws) or ``"pathwise"`` (with them).
        size: The number of bits or of states; 0 for the other kinds.
        independent: Whether its parameters do not depend on other latents.
        frames: Names and dimensions of the plates around it.
        parts: Number of its independent parts and of the states of each, where those are listed.
    """

    name: str
    family: str
    kind: Kind
    size: int
    independent: bool
    frames: tuple[tuple[str, int], ...]
    parts: tuple[int, int] | None = None

    @property
    def relaxes(self) -> bool:
        """Whether its values are vectors between whose states a model can be evaluated."""
        return self.kind == "bits" or self.family == Family.ONE_HOT

    @property
    def discrete(self) -> bool:
        return self.kind != "pathwise"

    @property
    def states(self) -> int:
        return 2**self.size if self.kind == "bits" else self.size


class _Probe(InOrder):
    """Gives discrete sites values that differ between rows, which shows the sites that depend on them.

    Row 0 holds zeros or the first state, row 1 ones or the last state, the others random values.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self.depends: dict[str, bool] = {}
        self.before: list[Tensor] = []

    def _pyro_sample(self, msg: Site) -> None:
        super()._pyro_sample(msg)
        fn = msg["fn"]
        if msg["is_observed"] or poutine.util.site_is_subsample(msg):
            return
        logits = exponential_family.bit_logits(fn)
        value = fn() if logits is None else torch.rand_like(logits).round().reshape(fn.shape())
        if logits is None and not fn.has_rsample and (support := support_of(fn)) is not None:
            value[0], value[1] = support[0, 0], support[-1, 0]
        elif logits is not None:
            value[0], value[1] = 0, 1
        # The same value is scored under the parameters of every row; a coupling whose weights are still zero shows
        # only in the graph.
        try:
            scored = unvalidated(fn).log_prob(value[:1].expand(value.shape)) if logits is None else logits
        except KeyError:  # a transform without an inverse scores its own draws only; it may depend on the others
            self.depends[msg["name"]] = bool(self.before)
            msg["value"] = value
            return
        linked = False
        if scored.requires_grad and self.before:
            gradients = torch.autograd.grad(scored.sum(), self.before, allow_unused=True, retain_graph=True)
            linked = any(gradient is not None for gradient in gradients)
        self.depends[msg["name"]] = linked or not bool((scored == scored[:1]).all())
        if value.is_floating_point():
            value = value if value.requires_grad else value.requires_grad_()
            self.before.append(value)
        msg["value"] = value


def guide_sites(
    guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, plates: int | None = None
) -> list[GuideSite]:
    """How a guide samples each latent, from one run that leaves the random state unchanged.

    Latents of a program that runs once per sample are taken to depend on each other.
    """
    sites, probe = [], _Probe()
    with fork_random_state(), evaluation_mode(guide), torch.enable_grad():
        guide = without_autoguide(guide, training=True)
        looped = plates is None and layout_of(guide, args, kwargs or {}).vectorise == "loop"
        draws, handler = (1, None) if looped else (4, probe)
        traced = latents(run(guide, args, kwargs or {}, draws=draws, plates=plates, handler=handler, training=True))
    for name, site in traced.items():
        fn = site["fn"]
        frames = tuple((f.name, f.dim) for f in site["cond_indep_stack"] if f.name != DRAWS)
        logits = exponential_family.bit_logits(fn)
        kind: Kind
        if logits is not None:
            kind, size = "bits", logits.shape[-1]
        elif fn.has_rsample:
            kind, size = "pathwise", 0
        elif (support := support_of(fn)) is not None and not _is_drawn(largest_value(fn)):
            kind, size = "states", len(support)
        else:
            kind, size = "score", 0
        independent = not probe.depends.get(name, True)
        parts = None if kind == "pathwise" else number_and_states(fn)
        sites.append(GuideSite(name, exponential_family.family(fn), kind, size, independent, frames, parts))
    return sites


def model_sites(model: Program, x: Batch) -> list[GuideSite]:
    """How a model samples each latent of all these data, from runs that leave the random state unchanged.

    A latent whose largest value differs between the data, or with other latents, as a binomial one with a number of
    trials that is drawn, has no states that could be listed for all of them: it is of the kind ``"score"``.
    """
    sites = guide_sites(model, (x[:2],))
    varying = _with_varying_states(model, x) if any(site.kind == "states" for site in sites) else set()
    return [replace(s, kind="score", size=0, parts=None) if s.name in varying else s for s in sites]


def _is_drawn(limit: Tensor | None) -> bool:
    """Whether the largest value of a discrete latent is computed from other latents, in a run that knows gradients."""
    return limit is not None and limit.requires_grad


def _with_varying_states(model: Program, x: Batch) -> set[str]:
    """Names of the discrete latents whose largest value is not the same for all data and draws of other latents."""
    largest, varying = dict[str, Tensor](), set[str]()
    step = data_block(x, DRAWN)
    with fork_random_state(), evaluating(model):
        if not any(_limits(model, x[:step], 1)):
            return varying  # no support depends on parameters
        for start in range(0, len(x), step):
            for name, upper in _limits(model, x[start : start + step], DRAWN):
                first = largest.setdefault(name, upper.flatten()[0])
                if not bool((upper == first).all()):
                    varying.add(name)
    return varying


def _limits(model: Program, x: Batch, draws: int) -> Iterator[tuple[str, Tensor]]:
    """Names and largest values of the discrete latents whose largest values depend on parameters."""
    for name, site in latents(run(model, (x,), {}, draws=draws)).items():
        if (upper := largest_value(site["fn"])) is not None:
            yield name, upper


def discrete_obstacle(sites: list[GuideSite]) -> str | None:
    """Names the first site whose latents are discrete; None if there is none."""
    return next((f"site {site.name!r} is {site.family}" for site in sites if site.kind in ("bits", "states")), None)


@dataclass(frozen=True)
class PairSites:
    """How the guide of a pair samples the latents, and the plates of the pair.

    Arguments:
        sites: The latent sites of the guide.
        plates: Number of dimensions to the right of that of the samples.
        canonical: Whether sites are seen in canonical form; else as the programs have them, which keeps apart what
            plates inside the plate over data make independent.
    """

    sites: list[GuideSite]
    plates: int
    canonical: bool = False

    @classmethod
    def learn(cls, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PairSites:
        """The sites of a pair from a run of each program, which leaves the random state unchanged.

        Raises:
            ValueError: If model and guide do not have the same latents, or a plate is a Python loop.
        """
        meet_data(guide, args, kwargs)
        guide = without_autoguide(guide, training=True)
        one, other = (layout_of(program, args, kwargs) for program in (model, guide))
        if _need_canonical(one, other):
            with evaluating(model, guide), fork_random_state():
                proposed = run(guide, args, kwargs, draws=1, training=True)
                fixed = SubstituteLatents(proposed.values_of_latents())
                check_cover(run(model, args, kwargs, draws=1, handler=fixed, training=True), proposed)
            return cls(guide_sites(guide, args, kwargs), 1, canonical=True)
        with evaluating(model, guide), fork_random_state(), poutine.block(), LocalParameters():
            guided = poutine.trace(partial(call, guide, args, kwargs)).get_trace()
            scored = poutine.trace(poutine.replay(partial(call, model, args, kwargs), trace=guided)).get_trace()
        drawn, known = (
            {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and not poutine.util.site_is_subsample(s)}
            for trace in (guided, scored)
        )
        check_cover(known, drawn)
        frames = [f for of in (drawn, known) for s in of.values() for f in s["cond_indep_stack"]]
        for frame in frames:
            if not frame.vectorized:
                raise ValueError(
                    f"plate {frame.name!r} is a Python loop; write `with pyro.plate(...)` so that draws vectorise"
                )
        plates = max((-frame.dim for frame in frames), default=0)
        return cls(guide_sites(guide, args, kwargs, plates), plates)

    def sum(
        self,
        sites: Mapping[str, Site],
        known: Mapping[str, Tensor] | None = None,
        betas: Mapping[str, float] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-densities of the sites in the discrete sites' plates, ``(rows, *plates)``, and of others, ``(rows,)``.

        Those that are ``known`` are not computed again; those of latents are multiplied by their betas. Without a site
        the sum is a single zero.
        """
        plates, local, other = self._discrete_frames, _ZERO, _ZERO
        for site in sites.values():
            name = site["name"]
            value = known[name] if known and name in known else log_prob(site)
            if betas and betas.get(name, 1.0) != 1:
                value = betas[name] * value
            if value.ndim <= self.plates:
                value = value.reshape(*[1] * (self.plates + 1 - value.ndim), *value.shape)
            inside = plates <= {(f.name, f.dim) for f in site["cond_indep_stack"]}
            keep = {dim for _, dim in plates} if inside else set()
            if drop := [dim for dim in range(-self.plates, 0) if dim not in keep]:
                value = value.sum(drop, keepdim=True)
            if inside:
                local = value if local is _ZERO else local + value
            else:
                other = value if other is _ZERO else other + value
        return local, other

    @cached_property
    def _discrete_frames(self) -> set[tuple[str, int]]:
        return set(next((site.frames for site in self.sites if site.discrete), ()))


def _need_canonical(*layouts: Layout) -> bool:
    """Whether the sites of a pair are to be seen in canonical form."""
    if any(not layout.names or layout.failure is not None for layout in layouts):
        return False
    if any(layout.outside for layout in layouts):
        return any(layout.vectorise != "left" for layout in layouts)
    if len({layout.latents for layout in layouts}) > 1:
        return True
    one_plate = all(layout.plates == 1 for layout in layouts)
    plain = all(layout.vectorise == "left" and not layout.loops for layout in layouts)
    return one_plate or not plain or len({layout.dim for layout in layouts}) > 1

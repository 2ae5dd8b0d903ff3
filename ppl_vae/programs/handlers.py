"""Runs of a Pyro program for many samples at once: its sites and their log-densities."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import is_validation_enabled, scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae.distributions import exponential_family
from ppl_vae.nn.modes import owners
from ppl_vae.programs.arguments import arguments
from ppl_vae.programs.densities import (
    InOrder,
    Site,
    inside_support,
    is_density,
    is_deterministic,
    unscaled,
    unvalidated,
)
from ppl_vae.programs.fit import check_proposal
from ppl_vae.programs.given import Fixed, Given
from ppl_vae.programs.random_state import fork_random_state

__all__ = [
    "DRAWS",
    "SubstituteLatents",
    "LocalParameters",
    "Site",
    "Sites",
    "check_cover",
    "latents",
    "log_prob",
    "run",
    "scores",
    "broadcasts_codes",
    "total",
]

DRAWS = "_draws"
"""Name of the plate around a program whose dimension counts samples."""


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


class LocalParameters(Messenger):
    """Keeps the parameters of modules apart from those of the same name in the parameter store."""

    def _pyro_param(self, msg: Site) -> None:
        initial = msg["args"][1] if len(msg["args"]) > 1 else None
        if not isinstance(initial, torch.nn.Parameter) or msg["value"] is not None:
            return
        initial.unconstrained = weakref.ref(initial)  # type: ignore[attr-defined]
        store, name = pyro.get_param_store(), msg["name"]
        if pyro.settings.get("module_local_params") or (name in store and store[name] is not initial):
            self._keep(msg, initial)

    def _keep(self, msg: Site, initial: torch.nn.Parameter) -> None:
        initial.unconstrained = weakref.ref(initial)  # type: ignore[attr-defined]
        msg["value"] = initial
        # Pyro's SVI gathers parameters by name; a model and its guide may both have a layer called "net".
        msg["name"] = f"{msg['name']}@{id(initial)}"


_adopted: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()


def adopt_parameters(program: Callable[..., Any]) -> None:
    """Lets a module built before ``module_local_params`` was set keep its own parameters, as those built later do."""
    if not pyro.settings.get("module_local_params"):
        return
    for owner in owners((program,)):
        if owner in _adopted:
            continue
        for module in owner.modules():
            context = getattr(module, "_pyro_context", None)
            if context is not None and not hasattr(context, "param_state"):
                context.param_state = {"params": {}, "constraints": {}}
        _adopted.add(owner)


def run(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    draws: int,
    plates: int = 1,
    handler: Messenger | None = None,
    training: bool = False,
) -> Sites:
    """Runs a model or guide for many samples at once and returns its sample sites by name.

    What is measured is a density per datum: scales are taken off, subsampling plates take the batch in its order, and
    what is no density is refused. Objectives keep Pyro's meaning of all of these.

    Arguments:
        program: A model or guide.
        args: Its arguments; a batch of several fields alone is spread into them.
        kwargs: Its keyword arguments.
        draws: Size of the dimension added to the left of the program's plates.
        plates: Number of dimensions of the program's plates.
        handler: A messenger applied outside the program's plates.
        training: Whether the sites are those of an objective, scaled and with factors as the program has them.

    Raises:
        ValueError: Unless training, if a site is no density or hides a latent behind a mask, naming it.
    """
    if isinstance(program, Given):
        handler, program = Fixed(program, handler), program.func
    adopt_parameters(program)
    plate = pyro.plate(DRAWS, draws, dim=-plates - 1)
    order = Messenger() if training else InOrder(len(args[0]) if args and hasattr(args[0], "__len__") else None)
    args, kwargs = arguments(program, args, kwargs)
    with LocalParameters(), poutine.trace() as tracer, order, handler or Messenger(), plate:
        program(*args, **kwargs)
    sites = {name: site for name, site in tracer.trace.nodes.items() if site["type"] == "sample"}
    indices = {name: site["value"] for name, site in sites.items() if poutine.util.site_is_subsample(site)}
    drawn = {name: site for name, site in sites.items() if name not in indices and not is_deterministic(site)}
    if not training:
        drawn = {name: unscaled(site) for name, site in drawn.items() if is_density(site)}
    return Sites(drawn, {name: value for name, value in indices.items() if name != DRAWS})


def log_prob(site: Site, *, raw: bool = False) -> Tensor:
    """Log-density of a site's value in nats, ``(draws, *plates)``, scaled and masked as Pyro does unless ``raw``."""
    is_checked = is_validation_enabled()
    fn = site["fn"] if is_checked else unvalidated(site["fn"])
    try:
        value = exponential_family.log_prob(fn, site["value"])
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"site {site['name']!r} cannot be scored: {error}") from error
    if not is_checked:
        value = inside_support(fn, site, value)
    result: Tensor = value if raw else scale_and_mask(value, site["scale"], site["mask"])
    return result


def total(sites: Mapping[str, Site], who: str) -> Tensor:
    """Sum of the log-densities of sites inside the data plate, ``(draws, batch)``, in nats; 0 without sites."""
    return reduce(torch.add, scores(sites, who).values(), torch.zeros(()))


def scores(sites: Mapping[str, Site], who: str) -> dict[str, Tensor]:
    """Log-densities by site, each inside the data plate, ``(draws, batch)``.

    Raises:
        ValueError: If a site lies inside other plates, naming it and them.
    """
    for name, site in sites.items():
        frames = [frame.name for frame in site["cond_indep_stack"] if frame.name != DRAWS]
        if frames != ["data"]:
            raise ValueError(
                f"site {name!r} of the {who} lies inside the plates {frames}; put it inside exactly one "
                'pyro.plate("data", len(x)), with other dimensions declared by .to_event'
            )
    return {name: log_prob(site) for name, site in sites.items()}


def latents(sites: Mapping[str, Site]) -> dict[str, Site]:
    """The unobserved sites of a program."""
    return {name: site for name, site in sites.items() if not site["is_observed"]}


def check_cover(model: Mapping[str, Site], guide: Mapping[str, Site]) -> None:
    """Checks that a guide samples exactly the model's latents, where the model has them.

    Raises:
        ValueError: Naming the sites.
    """
    wanted, offered = set(latents(model)), set(guide)
    auxiliary = [name for name, site in guide.items() if site["infer"].get("is_auxiliary")]
    if auxiliary:
        raise ValueError(
            f"the guide draws auxiliary sites {auxiliary}, over which its density would have to be summed; "
            "draw the model's latents directly"
        )
    if wanted != offered:
        raise ValueError(
            f"the guide draws {sorted(offered)} but the latents of the model are {sorted(wanted)}; "
            "name the guide's sites after the model's"
        )
    for name, site in guide.items():
        check_proposal(model[name], site)


def broadcasts_codes(score: Callable[[dict[str, Tensor]], Tensor], latents: Mapping[str, Any]) -> bool:
    """Whether a program takes latents of batch size 1 and scores every datum with each of them.

    Arguments:
        score: From values by site name, ``(draws, batch or 1, *event)``, to ``(draws, batch)``.
        latents: Distributions of the sites.
    """
    values = {}
    with torch.no_grad(), fork_random_state():
        for name, fn in latents.items():
            values[name] = fn.sample((3,))[:, :1]
        try:
            together = score(values)
            apart = score({n: v.expand(3, *latents[n].shape()).clone() for n, v in values.items()})
        except (ValueError, RuntimeError, IndexError):
            return False  # the program builds on the batch size of its codes
        return together.shape == apart.shape and torch.allclose(together, apart, rtol=1e-4, atol=1e-4)

"""Checks that a model can have produced the data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from pyro import validation_enabled
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.densities import Site, element_support, has_dependent_support, innermost
from ppl_vae.programs.handlers import latents, log_prob, run
from ppl_vae.programs.invariance import check_deterministic
from ppl_vae.programs.layouts import layout_of
from ppl_vae.programs.missing import MASKED, counted, filled
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.shared import shared_latents
from ppl_vae.programs.types import Program

__all__ = ["check_plate", "check_support", "checked", "observed_sites", "support_faults", "support_in_words"]

_SUPPORTS = {
    "_Boolean": "zeros and ones",
    "_IntegerGreaterThan": "whole numbers",
    "_IntegerInterval": "whole numbers of an interval",
    "_GreaterThan": "positive numbers",
    "_GreaterThanEq": "numbers from 0",
    "_Interval": "numbers of an interval",
    "_HalfOpenInterval": "numbers of an interval",
    "_Simplex": "positive numbers that sum to 1",
    "_OneHot": "one-hot vectors",
    "_Real": "finite numbers",
}
"""Supports by the name of their constraint, as a user knows them."""


_TRIED = 256
"""Samples of the latents by which no density of a datum is finite before the datum is refused."""

_CHECKED: ContextVar[tuple[object, ...]] = ContextVar("checked", default=())


@contextmanager
def checked(model: Program, x: Batch) -> Iterator[None]:
    """Checks that a model can have produced the data and that its densities are those of single data.

    Inside, the model is not checked again: measurements are made of measurements, of the same data or a part.

    Arguments:
        model: The model.
        x: All data.

    Raises:
        ValueError: If data share a latent, naming it; and as :func:`check_deterministic` and :func:`check_support`.
    """
    # A method of an object is a new object at every access, but equal to itself.
    key = (id(getattr(model, "__self__", model)), getattr(model, "__func__", None))
    if key not in _CHECKED.get() and len(x):
        with evaluating(model):
            shared = shared_latents(model, x)
        if shared:
            raise ValueError(
                f"all data share the latent site {shared[0]!r}, outside the plate over data, so that no datum has a "
                "density of its own: pv.measure gives the evidence given it, and a bound for all data together; for "
                "anything else make it a parameter (pyro.param)"
            )
        check_support(model, x)
        check_deterministic(model, x)
    token = _CHECKED.set((*_CHECKED.get(), key))
    try:
        yield
    finally:
        _CHECKED.reset(token)


def check_support(model: Program, x: Batch, name: str = "given") -> None:
    """Checks that every observed value lies in the support of its site, for all data.

    A density outside the support is no likelihood: a Bernoulli "log-probability" of 0.3 is a number, but not one of
    data. Values that a mask leaves out may be NaN.

    Arguments:
        model: The model.
        x: All data.
        name: The data's name in an error, such as ``"train"``.

    Raises:
        ValueError: If not, naming the site, the first datum, its value and the support.
    """
    for fault in support_faults(model, x, name).values():
        raise fault


def support_faults(model: Program, x: Batch, name: str = "given") -> dict[str, ValueError]:
    """The first fault of each site by :func:`check_support`, whose arguments these are.

    Raises:
        ValueError: If the model has no plate over data, or observes nothing.
    """
    faults = dict[str, ValueError]()
    with evaluating(model), fork_random_state():
        step = data_block(x)
        in_blocks = len(x) > step
        x = x if in_blocks else x[:]
        check_plate(model, x)
        observed = observed_sites(model, x[:2] if in_blocks else x)
        if not observed:
            raise ValueError("the model observes nothing; give its observation obs=x")
        if not any(isinstance(site["value"], Tensor) for site in observed.values()):
            return faults  # packed counts are checked when they are made
        for start in range(0, len(x), step):
            of_block = observed_sites(model, x[start : start + step]) if in_blocks else observed
            for site in of_block.values():
                if (
                    site["name"] in faults
                    or not isinstance(site["value"], Tensor)
                    or not hasattr(site["fn"], "support")
                ):
                    continue
                try:
                    _check_site(site, start, name)
                    for datum in _doubtful(site):
                        _check_datum(model, x[start + datum : start + datum + 1], site["name"], start + datum, name)
                except ValueError as fault:
                    faults[site["name"]] = fault
    return faults


def check_plate(model: Program, x: Batch) -> None:
    """Refuses a model without a plate over data, naming the plates it has."""
    layout = layout_of(model, (x,), {})
    if (layout.names and not layout.others) or layout.failure is not None:
        return
    has = " and ".join(f"{name!r} of {size}" for name, size in layout.others)
    raise ValueError(
        f"no plate of the model has the number of data, {len(x)}, as its size{f' (it has {has})' if has else ''}, so "
        "that no datum has a density of its own: write `with pyro.plate(NAME, len(x)):` around the sites of a datum, "
        "with .to_event for the dimensions of one datum only; rows are data (else transpose, x.T), and data are an "
        "argument of the model, not taken from outside"
    )


def observed_sites(model: Program, x: Batch, draws: int = 1) -> dict[str, Site]:
    """The observed sites of a model by name, those with a mask of single data among them."""
    sites = run(model, (x,), {}, draws=draws)
    drawn = latents(sites)
    return {name: site for name, site in sites.items() if name not in drawn}


def _check_site(site: Site, start: int, name: str) -> None:
    fn, value = site["fn"], filled(site)
    base = innermost(fn)
    support = _fixed_support(base)
    if support is None or not isinstance(value, Tensor):
        return
    inside = support.check(value)  # of one element, or of one vector where the support is of vectors
    if (counts := counted(site, value)) is not None:
        if vectors := support.event_dim:
            counts = counts.expand(value.shape).flatten(value.ndim - vectors).any(-1)
        inside = inside | ~counts
    if inside.all():
        return
    vectors = support.event_dim
    rows = inside.flatten(inside.ndim - (fn.event_dim - vectors)).all(-1) if fn.event_dim > vectors else inside
    datum = int((~rows).nonzero()[0][-1])
    assert isinstance(value, Tensor)
    elements = value.select(value.ndim - fn.event_dim - 1, datum)
    of_datum = inside.select(inside.ndim - (fn.event_dim - vectors) - 1, datum)
    while of_datum.ndim > elements.ndim - vectors:
        of_datum = of_datum[0]
    wrong = elements[~of_datum]
    shown = (
        f"{wrong.flatten()[0].item():g}" if not vectors else str([round(v, 4) for v in wrong.flatten()[:6].tolist()])
    )
    remedy = "take data of that kind, or another distribution"
    if wrong.isnan().any():
        remedy = f"where NaN means a missing value, {MASKED}"
    raise ValueError(
        f"site {site['name']!r} is {type(base).__name__} and takes {support_in_words(support)}, but the {name} data "
        f"have {shown} in datum {start + datum}; {remedy}"
    )


def _fixed_support(base: torch.distributions.Distribution) -> constraints.Constraint | None:
    """The support as far as it is the same whatever the parameters are, which may depend on the latents."""
    support = base.support
    if not has_dependent_support(base):
        return support
    return constraints.nonnegative_integer if support is not None and support.is_discrete else None


def _doubtful(site: Site) -> list[int]:
    """Data without a finite density that the parameters decide: at the end of a support, or above a largest count.

    The first few are enough.
    """
    base, value = innermost(site["fn"]), site["value"]
    support = element_support(base.support)
    if has_dependent_support(base):
        if support is None or not support.is_discrete:
            return []
    else:
        ends = [getattr(support, end, None) for end in ("lower_bound", "upper_bound")]
        ends = [0.0] if support is constraints.simplex else ends
        if not any(isinstance(end, int | float) and bool((value == end).any()) for end in ends):
            return []
    with validation_enabled(False):
        finite = log_prob(site).isfinite()
    places: list[int] = (~finite.reshape(-1, finite.shape[-1]).all(0)).nonzero()[:4, 0].tolist()
    return places


def _check_datum(model: Program, x: Batch, site_name: str, datum: int, name: str) -> None:
    """Refuses a datum whose density is not finite whatever its latents are."""
    site = observed_sites(model, x, _TRIED)[site_name]
    with validation_enabled(False):
        if log_prob(site).isfinite().any():
            return
    base, value = innermost(site["fn"]), site["value"]
    kind = type(base).__name__
    if not has_dependent_support(base):
        raise ValueError(
            f"site {site_name!r} is {kind}, whose density is zero or infinite at the ends of its support, but the "
            f"{name} data have {_at_an_end(value, base.support):g} in datum {datum}; move such values inside (by half "
            "of the rounding of the data), or observe them as a state of their own"
        )
    most = getattr(base.support, "upper_bound", None)
    of_all = " whose sum is" if base.support.event_dim else ""
    if isinstance(most, int | float):
        most = torch.tensor(float(most))
        value = value.sum(-1) if base.support.event_dim else value  # the counts of a multinomial
    if isinstance(most, Tensor) and bool((most == most[:1]).all() if most.ndim else True):  # else the latents decide
        over = value[value > most[0].expand(value.shape)] if most.ndim else value[value > most]
        if not over.numel():
            return  # inside the support, and of probability zero
        raise ValueError(
            f"site {site_name!r} is {kind} and takes whole numbers{of_all} up to {most.max().item():g}, but the "
            f"{name} data have {over.max().item():g} in datum {datum}; raise total_count, or take another distribution"
        )


def _at_an_end(value: Tensor, support: constraints.Constraint) -> float:
    ends = [getattr(element_support(support), end, 0.0) for end in ("lower_bound", "upper_bound")]
    return float(next(end for end in ends if bool((value == end).any())))


def support_in_words(support: constraints.Constraint) -> str:
    """The values that a support holds, as users call them."""
    support = element_support(support)
    kind = type(support).__name__
    return _SUPPORTS.get(kind, f"values of {support}")

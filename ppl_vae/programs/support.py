"""Checks that a model can have produced the data, and that its density is a function of data and latents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.densities import Site, element_support, has_dependent_support, innermost
from ppl_vae.programs.handlers import SubstituteLatents, latents, log_prob, run
from ppl_vae.programs.missing import filled
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.shared import shared_latents
from ppl_vae.programs.types import Program

__all__ = ["check_deterministic", "check_support", "checked"]

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


_ORDERED = 2**10
"""Most data whose order is tested: a block of them."""

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
    with evaluating(model), fork_random_state():
        observed = _observed(model, x[:2])
        if not observed:
            raise ValueError("the model observes nothing; give its observation obs=x")
        if not any(isinstance(site["value"], Tensor) for site in observed.values()):
            return  # packed counts are checked when they are made
        step = data_block(x)
        for start in range(0, len(x), step):
            for site in _observed(model, x[start : start + step]).values():
                if isinstance(site["value"], Tensor) and hasattr(site["fn"], "support"):
                    _check_site(site, start, name)


def _observed(model: Program, x: Batch) -> dict[str, Site]:
    sites = run(model, (x,), {}, draws=1)
    drawn = latents(sites)
    return {name: site for name, site in sites.items() if name not in drawn}


def _check_site(site: Site, start: int, name: str) -> None:
    fn, value = site["fn"], filled(site)
    base = innermost(fn)
    support = _fixed_support(base)
    if support is None:
        return
    inside = support.check(value)  # of one element, or of one vector where the support is of vectors
    if inside.all():
        return
    vectors = support.event_dim
    rows = inside.flatten(inside.ndim - (fn.event_dim - vectors)).all(-1) if fn.event_dim > vectors else inside
    datum = int((~rows).nonzero()[0][-1])
    assert isinstance(value, Tensor)
    elements = value.select(value.ndim - fn.event_dim - 1, datum)
    wrong = elements if vectors else elements[~_inside(support, elements)]
    shown = (
        f"{wrong.flatten()[0].item():g}" if not vectors else str([round(v, 4) for v in wrong.flatten()[:6].tolist()])
    )
    raise ValueError(
        f"site {site['name']!r} is {type(base).__name__} and takes {_words(support)}, but the {name} data have "
        f"{shown} in datum {start + datum}; take data of that kind, or another distribution"
    )


def _fixed_support(base: torch.distributions.Distribution) -> constraints.Constraint | None:
    """The support as far as it is the same whatever the parameters are, which may depend on the latents."""
    support = base.support
    if not has_dependent_support(base):
        return support
    return constraints.nonnegative_integer if support is not None and support.is_discrete else None


def _inside(support: constraints.Constraint, elements: Tensor) -> Tensor:
    """Whether the elements of one datum lie in the support."""
    inside: Tensor = support.check(elements)
    while inside.ndim > elements.ndim:
        inside = inside[0]
    return inside


def _words(support: constraints.Constraint) -> str:
    support = element_support(support)
    kind = type(support).__name__
    return _SUPPORTS.get(kind, f"values of {support}")


def check_deterministic(model: Program, x: Batch) -> None:
    """Checks that log p(x, z) of a datum is the same number whenever and beside whatever other data it is computed.

    Raises:
        ValueError: If it changes from call to call, the program being random beside its sample sites, with the other
            rows of the batch, or with the place of the datum among them.
    """
    with evaluating(model), fork_random_state():
        drawn = run(model, (x[:2],), {}, draws=2)
        fixed = SubstituteLatents(drawn.values_of_latents())
        runs = [run(model, (x[:2],), {}, draws=2, handler=fixed) for _ in range(2)]
        alone = _first_alone(model, x, {name: site["value"] for name, site in latents(drawn).items()})
    for name, first in runs[0].items():
        one, other = log_prob(first), log_prob(runs[1][name])
        if not torch.allclose(one, other, rtol=1e-4, atol=1e-4, equal_nan=True):
            raise ValueError(
                f"the density of site {name!r} changes from call to call, although data and latents are the same: the "
                "model draws random numbers outside its sample sites (torch.nn.functional.dropout outside a module?); "
                "use modules, which are put into evaluation mode, or sample sites"
            )
        if (
            name in alone
            and one.shape[1:] == (2,)
            and not torch.allclose(one[:, :1], log_prob(alone[name]), rtol=1e-3, atol=1e-3, equal_nan=True)
        ):
            raise ValueError(
                f"the density of site {name!r} for a datum changes with the other data of its batch, so that no datum "
                "has an evidence of its own; let every operation over data (a mean, batch normalisation by the batch) "
                "act on each row alone"
            )
    with evaluating(model), fork_random_state():
        _check_order(model, x[: min(_ORDERED, data_block(x))])


def _check_order(model: Program, x: Batch) -> None:
    """Checks that data in reverse order have the same densities: a recurrence over data leaves the first as it was."""
    backwards = torch.arange(len(x) - 1, -1, -1)
    drawn = run(model, (x,), {}, draws=1)
    values = {name: site["value"] for name, site in latents(drawn).items()}
    reversed_values = {n: v[:, backwards.to(v.device)] if v.shape[1:2] == (len(x),) else v for n, v in values.items()}
    turned = run(model, (x[backwards],), {}, draws=1, handler=SubstituteLatents(reversed_values))
    for name, site in drawn.items():
        one, other = log_prob(site), log_prob(turned[name])
        if one.shape[1:] == other.shape[1:] == (len(x),) and not torch.allclose(
            one, other.flip(1), rtol=1e-3, atol=1e-3, equal_nan=True
        ):
            raise ValueError(
                f"the density of site {name!r} for a datum changes with its place in the batch, so that no datum has "
                "an evidence of its own; give what belongs to each datum as a further argument, model(x, y), instead "
                "of taking rows of a tensor from outside, and let recurrent networks run over time, not over data "
                "(batch_first=True)"
            )


def _first_alone(model: Program, x: Batch, values: Mapping[str, Tensor]) -> Mapping[str, Site]:
    """The sites of the first datum alone with the same latents; none where the program does not run on one datum."""
    first = {name: value[:, :1] for name, value in values.items() if value.ndim > 1 and value.shape[1] == 2}
    if len(first) < len(values) or len(x) < 2:
        return {}
    try:
        return run(model, (x[:1],), {}, draws=2, handler=SubstituteLatents(first))
    except (ValueError, RuntimeError, IndexError):
        return {}

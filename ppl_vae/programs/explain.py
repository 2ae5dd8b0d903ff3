"""What is said of an error that arises inside a user's program: where, at which site, and the shapes that met."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import wraps
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import torch
from pyro import poutine

from ppl_vae.plugins.places import Place, frames_of, is_ours, place_of

__all__ = ["explain", "explained", "is_refusal"]

P = ParamSpec("P")
R = TypeVar("R")

MOST = 6
"""Number of shapes that are listed."""

_REMEDIES = {
    r"more than 1 value per channel when training": (
        "batch normalisation by the batch (training=True) makes the density of a datum depend on the others: use a "
        "module, torch.nn.BatchNorm1d, which is measured in evaluation mode"
    ),
    r"Double|double != float|float != double": (
        "data and parameters are of different precision: convert the data, x.float(), or the networks, .double()"
    ),
}
"""What to do, by errors of PyTorch that shapes do not explain."""


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Adds a note to errors of the programs that a function runs: :func:`explain`."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            explain(error)
            raise

    return run


def explain(error: BaseException, *lines: str) -> None:
    """Adds a note to an error that arose in a user's program, unless it has one or is a refusal of this package.

    The note names the innermost line of a user's file, the site that was being sampled with the shapes of its
    distribution and value, the shapes of what the line names, and what is expected there.

    Arguments:
        error: The error, being handled.
        lines: Further lines of the note.
    """
    frames = list(frames_of(error.__traceback__))
    place = place_of(error)
    known = [remedy for pattern, remedy in _REMEDIES.items() if re.search(pattern, str(error))]
    if any(frame.f_globals.get("__name__") == torch.nn.modules.batchnorm.__name__ for frame, _ in frames):
        known = []  # a module already
    if getattr(error, "__notes__", None) or is_refusal(error):
        return
    if place is None:  # in a shipped model or guide
        for remedy in known:
            error.add_note(remedy)
        return
    facts = [*known, *_facts([frame for frame, _ in frames], place, shapes=not known)]
    error.add_note("\n".join([f"at {place}", *facts, *lines]))


def is_refusal(error: BaseException) -> bool:
    """Whether an error arose in this package, rather than in a program that it runs."""
    frames = list(frames_of(error.__traceback__))
    return bool(frames) and is_ours(frames[-1][0])


def _facts(frames: list[FrameType], place: Place, shapes: bool) -> Iterator[str]:
    sample = next((frame.f_locals for frame in reversed(frames) if _is_statement(frame, "sample")), None)
    draws = next((f.f_locals["draws"] for f in frames if is_ours(f) and isinstance(f.f_locals.get("draws"), int)), 0)
    if sample is not None:
        yield _of_site(sample)
    if here := ", ".join(_shapes(place))[:300]:
        yield f"there {here}"
    tracer = next((f.f_locals["tracer"] for f in reversed(frames) if is_ours(f) and "tracer" in f.f_locals), None)
    nodes = tracer.trace.nodes if tracer is not None else {}
    values = {
        name: site["value"]
        for name, site in nodes.items()
        if site["type"] == "sample" and not poutine.util.site_is_subsample(site)
    }
    sites = [_of_value(n, v) for n, v in values.items() if isinstance(v, torch.Tensor) and not n.startswith("_")]
    if sites:
        yield f"sampled so far: {', '.join(sites[:MOST])}"
    parts = [site for site in nodes.values() if site["type"] == "sample" and poutine.util.site_is_subsample(site)]
    for name, size, taken in ((site["name"], site["fn"].size, len(site["value"])) for site in parts):
        if taken < size:
            yield (
                f"plate {name!r} takes {taken} of {size} rows, but a program is given the rows of a batch alone, and "
                "scores each: write subsample_size=len(x), and obs=x without an index or pyro.subsample"
            )
    if sample is not None and (kept := _rows_of_others(sample.get("fn"), nodes)) is not None:
        yield (
            f"parameter {kept!r} has a row for each datum of another batch: take those of the batch by the indices of "
            f"the plate, `with pyro.plate(NAME, len(x)) as rows:` and {kept}[rows], or compute them from the data (an "
            "amortised guide)"
        )
        return
    copied = [name for name, site in nodes.items() if name in values and "." in name and site["cond_indep_stack"]]
    if copied:
        yield (
            f"site {copied[0]!r} is a PyroSample, drawn where it is first read, here once for each datum inside the "
            f"plate: read it before the plate, as `self.{copied[0]}` on a line of its own, so that all data share it"
        )
    elif not shapes:
        return
    elif sample is not None:
        yield (
            "inside a plate of N data a distribution has batch shape (N,), with samples in front (draws, N): declare "
            "the dimensions of one datum by .to_event(number of them)"
        )
    elif draws:
        yield f"samples are a dimension on the left (here {draws}): count dimensions from the right, as x[..., 0] does"


def _rows_of_others(fn: object, nodes: dict[str, Any]) -> str | None:
    """A ``pyro.param`` statement with a row for each of the data of a distribution, that are not those of its plate."""
    size = fn.batch_shape[-1] if isinstance(fn, torch.distributions.Distribution) and len(fn.batch_shape) else 1
    for name, site in nodes.items():
        is_statement = site["type"] == "param" and not {"$", "."} & set(name)
        if is_statement and size > 1 and site["value"].ndim and len(site["value"]) == size:
            return name
    return None


def _is_statement(frame: FrameType, name: str) -> bool:
    return frame.f_code.co_name == name and frame.f_globals.get("__name__") == "pyro.primitives"


def _of_site(sample: dict[str, Any]) -> str:
    fn, name, value = sample.get("fn"), sample.get("name"), sample.get("obs")
    text = f"site {name!r}"
    if isinstance(fn, torch.distributions.Distribution):
        text += f": its distribution has batch shape {tuple(fn.batch_shape)} and event shape {tuple(fn.event_shape)}"
    if isinstance(value, torch.Tensor):
        text += f", the observed value {tuple(value.shape)}"
    return text


def _shapes(place: Place) -> list[str]:
    """The shapes of the tensors and layers that a line names, else of all local variables."""
    named = dict(_looked_up(name, place.frame) for name in re.findall(r"[A-Za-z_][\w.]*", place.source))
    shown = named if any(map(_is_shown, named.values())) else place.frame.f_locals
    return [_of_value(name, value) for name, value in shown.items() if _is_shown(value)][:MOST]


def _looked_up(name: str, frame: FrameType) -> tuple[str, Any]:
    """A variable, or a part of a module by its dotted name, which is looked up without running any code."""
    name, *rest = name.split(".")
    value = frame.f_locals.get(name, frame.f_globals.get(name))
    for part in rest:
        if not isinstance(value, torch.nn.Module):
            break
        held = [getattr(value, kind).get(part) for kind in ("_parameters", "_buffers", "_modules")]
        name, value = f"{name}.{part}", next((item for item in held if item is not None), vars(value).get(part))
    return name, value


def _is_shown(value: object) -> bool:
    """Whether a value is a tensor, or a layer that says its sizes."""
    if isinstance(value, torch.nn.Module):
        return bool(value.extra_repr()) and not list(value.children())
    return isinstance(value, torch.Tensor)


def _of_value(name: str, value: torch.Tensor | torch.nn.Module) -> str:
    return f"{name} is {value if isinstance(value, torch.nn.Module) else tuple(value.shape)}"

"""Measurements of any pair whose progress is shown where somebody watches: on a terminal, and in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from ppl_vae.data.inputs import as_batch
from ppl_vae.evidence.plan import plan
from ppl_vae.plugins.streams import is_terminal
from ppl_vae.programs.prepared import prepared
from ppl_vae.programs.types import Program
from ppl_vae.training.notebook_bar import in_notebook
from ppl_vae.training.progress import Reporter

__all__ = ["WATCHED", "watched"]

P = ParamSpec("P")
R = TypeVar("R")

Total = Callable[..., int]


def _cells(model: Program, guide: Program, *data: object, **options: object) -> int:
    """Total of :func:`~ppl_vae.evidence.measure.measure`."""
    x = as_batch(*data)
    how = {name: value for name, value in options.items() if name not in ("done", "check")}
    with prepared(model, guide, x):
        return plan(model, x, **how).cells  # type: ignore[arg-type]


def _data(model: Program, guide: Program, *data: object, **options: object) -> int:
    """Total of :func:`~ppl_vae.diagnostics.gap.split.split_gap`."""
    return len(as_batch(*data))


WATCHED: dict[str, tuple[str, Total]] = {"measure": ("evidence", _cells), "split_gap": ("gap", _data)}
"""Title of the work, and function from the arguments to its number of steps, by name of the measurement."""


def watched(measurement: Callable[P, R], title: str, total: Total) -> Callable[P, R]:
    """A measurement that shows its progress, unless it is given a ``progress`` of its own.

    Arguments:
        measurement: The measurement.
        title: Name of the work.
        total: Function from the arguments to the number of steps.
    """

    @wraps(measurement)
    def shown(*args: P.args, **options: P.kwargs) -> R:
        given = cast(dict[str, object], options)
        if given.get("progress") is not None or not (is_terminal(sys.stderr) or in_notebook()):
            return measurement(*args, **options)
        try:
            reporter = Reporter(title, lambda: total(*args, **{k: v for k, v in given.items() if k != "progress"}))
        except (TypeError, ValueError):  # which the measurement tells better
            return measurement(*args, **options)
        with reporter:
            return measurement(*args, **{**given, "progress": reporter.advance})  # type: ignore[arg-type]

    return shown

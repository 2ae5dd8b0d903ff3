"""The commands that take a run, made from the methods of runs; and ``ppl-vae compare``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppl_vae.cli.completion import RunPath
from ppl_vae.cli.opening import opens_runs
from ppl_vae.cli.options import GroupedCommand, was_given, with_options
from ppl_vae.cli.output import Printed, with_json
from ppl_vae.plugins.options import Option, options_of
from ppl_vae.runs.measurements import Measurements

if TYPE_CHECKING:
    from ppl_vae.data.source import SplitName

__all__ = [
    "calibrate",
    "codes",
    "compare",
    "curve",
    "export",
    "information",
    "measuring",
    "options_of_method",
    "remedy",
    "retrieval",
    "sandwich",
    "search",
    "tightness",
]

SHARED = {
    "split": "Data to take.",
    "data": "Number of data, drawn at random; 0 for all.",
    "engine": "What measures the blocks of data: local (this machine), dask or ray, whose workers must see the run.",
    "jobs": "Number of blocks measured at once, where no cluster runs already.",
    "address": "Address of a Dask scheduler or a Ray cluster that runs already.",
    "threads": "Threads of a block; by default its share of the cores, and 1 on Dask and Ray.",
    "retry": "How often Dask or Ray tries a block again that failed or lost its worker; by default 0 and 3.",
}
"""Help of the options that all measurements have."""


def text_of(method: Callable[..., object]) -> str:
    """The docstring of a function up to its arguments."""
    return re.split(r"^(?:Arguments|Raises|Returns):$", inspect.getdoc(method) or "", flags=re.MULTILINE)[0].rstrip()


def options_of_method(method: Callable[..., object]) -> list[Option]:
    """The options of a method of runs; those that all measurements have take their help from one place."""
    return [replace(option, help=option.help or SHARED.get(option.name, "")) for option in options_of(method)]


def measuring(name: str, cls: type[click.Command] = GroupedCommand) -> click.Command:
    """The command ``NAME RUN`` of the method of runs of this name, with its options, defaults and documentation.

    An argument without a default takes all words that follow the run.

    Arguments:
        name: The name of the method.
        cls: Class of the command.
    """
    method = getattr(Measurements, name)
    options = options_of_method(method)
    words = {option.name for option in options if option.required}

    def measure(folder: Path, **values: Any) -> Printed:  # of the types of the method's options
        from ppl_vae.runs.open import open_run

        # What a command has besides the options of its method is passed on only if the user gave it.
        ctx, own = click.get_current_context(), {option.name for option in options}
        given = {key: value for key, value in values.items() if key in own or was_given(ctx, key)}
        given |= {key: " ".join(given[key]) for key in words}
        result: Printed = getattr(open_run(folder), name)(**given)
        return result

    function = opens_runs(with_options(option for option in options if not option.required)(with_json(measure)))
    for word in words:
        function = click.argument(word, nargs=-1, required=True)(function)
    command = click.command(name, cls=cls, help=text_of(method))(
        click.argument("folder", metavar="RUN", type=RunPath())(function)
    )
    assert isinstance(command, click.Command)
    return command


@click.command(cls=GroupedCommand)
@click.argument("folders", metavar="RUN RUN...", nargs=-1, required=True, type=RunPath())
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test"]))
@opens_runs
@with_json
def compare(folders: tuple[Path, ...], split: SplitName) -> Printed:
    """Compare ELBO, evidence and gap of trained runs.

    If a run was trained with --objective likelihood, the approximation errors of the other runs of its model are
    shown. Stored measurements are read, missing ones are made; evidence that is not exact is taken by the same method
    with the same draws for all. Writes compare-SPLIT.json and a figure into the first run.
    """
    from ppl_vae.runs.compare import compare

    return compare(*folders, split=split)


tightness, calibrate, information = map(measuring, ("tightness", "calibrate", "information"))
curve, sandwich, export, remedy = map(measuring, ("curve", "sandwich", "export", "remedy"))
codes, search, retrieval = map(measuring, ("codes", "search", "retrieval"))

"""The commands that measure trained runs: ``ppl-vae gap``, ``evidence``, ..."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

__all__ = ["COMMANDS", "with_json"]

COMMANDS: list[click.Command] = []
"""What :mod:`ppl_vae.cli` adds to its group."""


def with_json(function: Callable[..., Any]) -> Callable[..., None]:
    """Adds ``--json``: the result as one JSON document on the output stream; else its table."""

    @click.option(
        "--json", "as_json", is_flag=True, help="Print the result as one JSON document, and nothing else, on stdout."
    )
    @wraps(function)
    def command(*args: Any, as_json: bool, **kwargs: Any) -> None:
        with contextlib.redirect_stdout(sys.stderr):  # what users' own files print must not mix with the result
            result = function(*args, **kwargs)
        click.echo(json.dumps(result.to_json(), indent=2, allow_nan=False) if as_json else str(result))

    return command


SPLIT = click.option("--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test"]))


def measuring(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command ``RUN --split --data --json`` of a function of folder, split, number of data and its own options."""
    sample = click.option(
        "--data",
        "count",
        default=0,
        type=click.IntRange(min=0),
        help="Measure a random sample of so many data.  [default: all]",
    )
    wrapped = SPLIT(sample(with_json(function)))
    wrapped = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))(wrapped)
    command = click.command(function.__name__)(wrapped)
    COMMANDS.append(command)
    return command


@measuring
def gap(folder: Path, split: str, count: int) -> Any:
    """Split the gap of a trained RUN into what the guide's family costs and what its amortisation.

    Exact, by enumeration of codes of at most 16 bits. Writes gap-SPLIT.json, the values of every datum and a
    figure into the run.
    """
    from ppl_vae.measured_runs import measure_gap

    return measure_gap(folder, split, count)


@measuring
@click.option("--method", default="auto", show_default=True, type=click.Choice(["auto", "enumeration", "importance"]))
@click.option(
    "--draws", default=1000, show_default=True, type=click.IntRange(min=2), help="Draws a datum where needed."
)
def evidence(folder: Path, split: str, count: int, method: Any, draws: int) -> Any:
    """Measure ELBO, evidence and gap of a trained RUN again, by another method or with more draws.

    Writes evidence-SPLIT-METHOD.json and the values of every datum into the run.
    """
    from ppl_vae.measured_runs import measure_evidence

    return measure_evidence(folder, split, method, draws, count)


@click.command
@click.argument("folders", metavar="RUN RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@SPLIT
@with_json
def compare(folders: tuple[Path, ...], split: str) -> Any:
    """Compare trained RUNs on the same data: ELBO, evidence, gap and its parts, and how far each is from the first.

    If one of them was trained with --objective likelihood, the approximation error of the others of its model is
    shown. What the runs were measured by before is read, what is missing is measured. Writes compare-SPLIT.json
    and a figure into the first run.
    """
    from ppl_vae.compared_runs import compare_runs

    return compare_runs(folders, split)


COMMANDS.append(compare)

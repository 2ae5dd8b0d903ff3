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


def measuring(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command ``RUN --split --data --json`` of a function of folder, split, number of data and its own options."""
    split = click.Choice(["train", "validation", "test"])
    sample = click.option(
        "--data",
        "count",
        default=0,
        type=click.IntRange(min=0),
        help="Measure a random sample of so many data.  [default: all]",
    )
    wrapped = click.option("--split", default="test", show_default=True, type=split)(sample(with_json(function)))
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


@measuring
@click.option(
    "--draws",
    type=click.IntRange(min=2),
    help="Draws a datum, where the states are too many.  [default: four a statistic, at least 100]",
)
def tightness(folder: Path, split: str, count: int, draws: int | None) -> Any:
    """Test whether the gap of a trained RUN could ever be closed: is the posterior in the guide's family?

    It is if log p(x, z) is, for each datum, an affine function of the statistics of the family (z itself for bits,
    z and its square for normals). If it is not, no network whatever mends it: take a wider family, such as the guide
    "full", or a decoder nearer to affine. If it is, coefficients linear in x are enough, and a gap that remains is
    the training's.

    "Share left" is what the best affine function leaves of the variance of log p(x, z) over z: of the guide, where the
    bound is made, and of the prior, everywhere. "Linear in x" gives all data one map from x to the coefficients.
    Needs no training; exact up to 16 bits, from draws beyond. The longest codes take a second a datum: a sample,
    --data 200, tells as much. Writes tightness-SPLIT.json, the values of every datum and a figure into the run.
    """
    from ppl_vae.measured_runs import measure_tightness

    return measure_tightness(folder, split, draws, count)

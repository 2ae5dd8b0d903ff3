"""The commands that measure trained runs: ``ppl-vae gap``, ``evidence``, ..."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ppl_vae.cli.output import Printed, with_json

__all__ = ["compare", "curve", "export", "gap", "information", "measuring", "tightness"]


SPLIT = click.option("--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test"]))


def measuring(function: Callable[..., Any], cls: type[click.Command] = click.Command) -> Callable[..., Any]:
    """Makes a command ``RUN --split --data --json`` of a function of folder, split, number of data and options."""
    sample = click.option(
        "--data",
        "count",
        default=0,
        type=click.IntRange(min=0),
        help="Number of data to measure, drawn at random.  [default: all]",
    )
    wrapped = SPLIT(sample(with_json(function)))
    wrapped = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))(wrapped)
    return click.command(function.__name__, cls=cls)(wrapped)


@measuring
@click.option("--method", default="auto", show_default=True, type=click.Choice(["auto", "enumeration", "ascent"]))
@click.option(
    "--steps", default=600, show_default=True, type=click.IntRange(min=4), help="Steps of the gradient ascent."
)
@click.option(
    "--draws", default=200, show_default=True, type=click.IntRange(min=2), help="Draws per datum where they are needed."
)
@click.option("--ladder", metavar="GUIDE,...", help="Fit these guides to the run's fixed model, and compare them.")
@click.option("--epochs", help="Maximum number of epochs per guide of the ladder.  [default: as the run]")
def gap(folder: Path, split: str, count: int, ladder: str | None, epochs: str | None, **how: Any) -> Printed:
    """Split the gap into family gap and amortisation gap.

    \b
    enumeration   exact; discrete latents of at most 16 bits together
    ascent        the best member of the guide's family by gradient ascent for each
                  datum: bits, categoricals, normals, full covariances

    With --ladder linear_counts,mean_field,full (from the smallest family up) each guide is fitted to the training data
    of the run, and the gain of each step is shown, up to the evidence. Fits are stored in RUN/ladder; after an
    interruption the same command resumes them.

    Writes gap-SPLIT.json (ladder-SPLIT.json), the values per datum and a figure into the run.
    """
    if ladder is None:
        if epochs is not None:
            raise click.UsageError("--epochs applies to fitted guides: name them with --ladder")
        from ppl_vae.runs.gap import measure_gap

        return measure_gap(folder, split, count, **how)
    from ppl_vae.runs.gap import measure_ladder

    return measure_ladder(folder, split, count, [name.strip() for name in ladder.split(",")], epochs, **how)


@measuring
@click.option(
    "--draws", default=100, show_default=True, type=click.IntRange(min=2), help="Draws per datum where needed."
)
@click.option(
    "--codes",
    default=10_000,
    show_default=True,
    type=click.IntRange(min=2),
    help="Maximum number of codes compared with all data, where they are not enumerated.",
)
def information(folder: Path, split: str, count: int, draws: int, codes: int) -> Printed:
    """Measure rate, distortion, mutual information, active units.

    Writes information-SPLIT.json, the values per datum and a figure into the run.
    """
    from ppl_vae.runs.measure import measure_information

    return measure_information(folder, split, draws, codes, count)


@measuring
@click.option("--betas", default="8,4,2,1.5,1,0.7,0.5,0.25,0.125", show_default=True, help="Weights of the rate.")
@click.option("--method", default="auto", show_default=True, type=click.Choice(["auto", "enumeration", "annealing"]))
@click.option("--chains", default=16, show_default=True, type=click.IntRange(min=2), help="Annealing chains per datum.")
@click.option("--temperatures", default=500, show_default=True, type=click.IntRange(min=1), help="Steps of annealing.")
@click.option(
    "--leapfrog-steps", default=5, show_default=True, type=click.IntRange(min=1), help="Leapfrog steps of a move."
)
@click.option(
    "--draws", default=100, show_default=True, type=click.IntRange(min=2), help="Draws of the guide per datum."
)
def curve(folder: Path, split: str, count: int, betas: str, **how: Any) -> Printed:
    """Measure the rate-distortion curve of a decoder.

    For each weight beta of the rate, the smallest D + beta R of any encoder with this prior and decoder: exact for
    codes of at most 16 bits, else by one annealed run from the prior for all weights. The excess of the guide above
    the curve is its loss at that weight, at beta = 1 the gap. Annealing takes minutes for some hundred data: begin
    with --data 100.

    Writes curve-SPLIT.json, the values per datum and a figure into the run.
    """
    from ppl_vae.runs.measure import measure_curve

    try:
        weights = tuple(float(part) for part in betas.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"weights are numbers such as 4,2,1,0.5, got {betas!r}", param_hint="--betas"
        ) from error
    if not all(0 < weight < float("inf") for weight in weights):
        raise click.BadParameter(f"weights are positive numbers, got {betas!r}", param_hint="--betas")
    return measure_curve(folder, split, count, betas=weights, **how)


@measuring
@click.option("--draws", default=100, show_default=True, type=click.IntRange(min=2), help="Draws per datum.")
@click.option(
    "--predictive",
    default=5,
    show_default=True,
    type=click.IntRange(min=0),
    help="Number of draws for which data are drawn from the model.",
)
def export(folder: Path, split: str, count: int, draws: int, predictive: int) -> Printed:
    """Export draws, weights, likelihoods and data for ArviZ.

    Writes arviz-SPLIT.nc into the run, for arviz.from_netcdf. The draws come from the guide.
    """
    from ppl_vae.runs.export_arviz import export_arviz

    return export_arviz(folder, split, draws, count, predictive)


@click.command
@click.argument("folders", metavar="RUN RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@SPLIT
@with_json
def compare(folders: tuple[Path, ...], split: str) -> Printed:
    """Compare ELBO, evidence and gap of trained runs.

    If a run was trained with --objective likelihood, the approximation errors of the other runs of its model are
    shown. Stored measurements are read, missing ones are made. Writes compare-SPLIT.json and a figure into the first
    run.
    """
    from ppl_vae.runs.compare import compare_runs

    return compare_runs(folders, split)


@measuring
@click.option(
    "--draws",
    type=click.IntRange(min=2),
    help="Draws per datum, where the states are too many.  [default: four per statistic, at least 100]",
)
def tightness(folder: Path, split: str, count: int, draws: int | None) -> Printed:
    """Test whether the posterior lies in the guide's family.

    Only then can the gap be closed. The posterior is in the family if log p(x, z) is, for each datum, an affine
    function of the family's statistics (z itself for bits, z and its square for normals). If it is not, no network
    closes the gap: take a wider family, such as the guide "full", or a decoder nearer to affine. If it is, coefficients
    linear in x are enough, and a gap that remains is due to training.

    "Unexplained share" is the share of the variance of log p(x, z) over z that the best affine function does not
    explain, for z of the guide (where the bound is computed) and of the prior (everywhere). Coefficients "linear in x"
    are one map from x for all data. Needs no training; exact up to 16 bits, from draws beyond. The longest codes take
    a second per datum: take a sample, --data 200. Writes tightness-SPLIT.json, the values per datum and a figure into
    the run.
    """
    from ppl_vae.runs.measure import measure_tightness

    return measure_tightness(folder, split, draws, count)

"""``ppl-vae experiment``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppl_vae.cli.completion import names_of
from ppl_vae.cli.output import Printed, with_json
from ppl_vae.cli.plugin_name import PluginName

__all__ = ["experiment"]


@click.command
@click.argument("name", required=False, shell_complete=names_of("experiments"))
@click.option(
    "--preset", default="smoke", show_default=True, help="Size: smoke (seconds), cpu (minutes) or paper (in full)."
)
@click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds, instead of the preset's.")
@click.option(
    "--engine",
    type=PluginName("engines"),
    default="local",
    show_default=True,
    help="What computes the cells: local (this machine), dask, ray, or a file of your own.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of cells computed at once, each on its share of the cores, where no cluster runs already.",
)
@click.option("--address", help="Address of a Dask scheduler or a Ray cluster that runs already.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of a cell.  [default: its share; 1 on dask, ray]")
@click.option("--gpus", type=click.FloatRange(min=0, min_open=True), help="Share of a GPU that a cell has (dask, ray).")
@click.option(
    "--retry",
    type=click.IntRange(min=0),
    help="How often a cell is tried again that failed or lost its worker (dask, ray).  [default: 0 and 3]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    help="Device to compute on; auto is CUDA where available.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: runs/NAME-PRESET]")
@click.option(
    "--tune",
    type=click.Choice(["elbo", "evidence"]),
    help="Choose one cell of a sweep by this of the validation data, by successive halving (Optuna).",
)
@click.option("--dry-run", is_flag=True, help="Tell the cells and their core-hours, from a short trial, and stop.")
@with_json
def experiment(name: str | None, **options: Any) -> Printed:
    """Reproduce a table or figure of a paper.

    NAME is an experiment, or a file of your own: Python with PRESETS and run(study, ...), or a .toml that describes a
    sweep of trainings, as experiments/rate_distortion.toml does. Without it, all are listed. Results are stored
    cell by cell: after an interruption the same command continues, and it shows a finished report again.
    Writes report.html (one page that can be sent), report.md, report.json, cells.csv and cells.parquet (a row a cell),
    figures/ (PNG and PDF) and values/ (every raw number) into its folder, which workers on other machines must see
    under the same path (docs/growing.md).
    """
    from ppl_vae.studies import experiments

    if name is None:
        return experiments.Experiments.take()
    return experiments.experiment(name, **options)

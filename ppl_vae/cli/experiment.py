"""``ppl-vae experiment``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppl_vae.cli.completion import names_of
from ppl_vae.cli.output import Printed, with_json

if TYPE_CHECKING:
    from ppl_vae.runs.devices import DeviceOption

__all__ = ["experiment"]


@click.command
@click.argument("name", required=False, shell_complete=names_of("experiments"))
@click.option(
    "--preset", default="smoke", show_default=True, help="Size: smoke (seconds), cpu (minutes) or paper (in full)."
)
@click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds, instead of the preset's.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of cells computed at once, each on its share of the cores.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    help="Device to compute on; auto is CUDA where available.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: runs/NAME-PRESET]")
@with_json
def experiment(
    name: str | None, preset: str, seeds: int | None, jobs: int, device: DeviceOption, out: Path | None
) -> Printed:
    """Reproduce a table or figure of a paper.

    NAME is an experiment, or a file of your own: Python with PRESETS and run(study, ...), or a .toml that describes a
    sweep of trainings, as experiments/rate_distortion.toml does. Without it, all are listed. Results are stored
    cell by cell: after an interruption the same command continues, and it shows a finished report again.
    Writes report.md, report.json, figures/ (PNG and PDF) and values/ (every raw number) into its folder.
    """
    from ppl_vae.studies import experiments

    if name is None:
        return experiments.Experiments.take()
    return experiments.experiment(name, preset=preset, seeds=seeds, jobs=jobs, device=device, out=out)

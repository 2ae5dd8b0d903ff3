"""``ppl-vae experiment``."""

from __future__ import annotations

from pathlib import Path

import click

from ppl_vae.cli.devices import device_option
from ppl_vae.cli.output import Printed, with_json

__all__ = ["experiment"]


@click.command
@click.argument("name", required=False)
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
@device_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: runs/NAME-PRESET]")
@with_json
def experiment(name: str | None, preset: str, seeds: int | None, jobs: int, device: str, out: Path | None) -> Printed:
    """Reproduce a table or figure of a paper.

    NAME is an experiment, or a file of your own: Python with PRESETS and run(study, ...), or a .toml that describes a
    sweep of trainings, as experiments/rate_distortion.toml does. Without it, all are listed. Results are stored
    cell by cell: after an interruption the same command continues, and it shows a finished report again.
    Writes report.md, report.json, figures/ (PNG and PDF) and values/ (every raw number) into its folder.
    """
    from ppl_vae.studies.experiments import Experiments, run_experiment

    if name is None:
        return Experiments.take()
    return run_experiment(name, preset, seeds=seeds, jobs=jobs, device=device, out=out)

"""The command line: ``ppl-vae list`` and ``experiment``, and the commands that train and that measure runs."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import click

from ppl_vae import __version__
from ppl_vae.cli.devices import device_option
from ppl_vae.cli.errors import on_termination, words_for_errors
from ppl_vae.cli.images import COMMANDS
from ppl_vae.cli.output import with_json
from ppl_vae.cli.train import train
from ppl_vae.programs.loading import available
from ppl_vae.training.process import prepare

__all__ = ["main"]

# GNU OpenMP reads it when torch is loaded. Its threads spin for milliseconds at the end of every parallel region, which
# beside a busy neighbour makes a step ten times slower; some tens of microseconds cost nothing on an idle machine.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")


class Group(click.Group):
    """A group under which no command ends in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        with words_for_errors():
            return super().invoke(ctx)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ppl-vae")
def main() -> None:
    """Train variational autoencoders written in Pyro, and measure what their bounds hide.

    Begin with:  ppl-vae train models/text.py --guide linear_counts
    """
    prepare()
    with contextlib.suppress(ValueError):  # only the main thread may
        signal.signal(signal.SIGTERM, on_termination)


@main.command("list")
@with_json
def list_command() -> Any:
    """Show models, guides, estimators and corpora, and which go together."""
    from ppl_vae.runs.catalogue import Catalogue

    (models, no_models), (guides, no_guides) = available("models"), available("guides")
    return Catalogue.take(models, guides, no_models | no_guides)


@main.command()
@click.argument("name", required=False)
@click.option("--preset", default="smoke", show_default=True, help="smoke (seconds), cpu (minutes) or paper (in full).")
@click.option("--seeds", type=click.IntRange(min=1), help="Repetitions, instead of the preset's.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Cells computed at once, each on its share of the cores, by experiments with independent cells.",
)
@device_option
@click.option("--out", type=click.Path(path_type=Path), help="Its folder.  [default: runs/NAME-PRESET]")
@with_json
def experiment(name: str | None, preset: str, **how: Any) -> Any:
    """Reproduce a table or figure of a paper, with what the paper could not measure.

    NAME is an experiment, or a file of your own: Python with PRESETS and run(study, ...), or a .toml that describes a
    sweep of trainings, as experiments/rate_distortion.toml does. Without it, all are listed. What is done is kept cell
    by cell: the same command goes on after an interruption, and shows a finished report again.
    Writes report.md, report.json, figures/ (PNG and PDF) and values/ (every raw number) into its folder.
    """
    from ppl_vae.studies.experiments import Experiments, run_experiment

    return Experiments.take() if name is None else run_experiment(name, preset, **how)


for _command in (train, *COMMANDS):
    main.add_command(_command)

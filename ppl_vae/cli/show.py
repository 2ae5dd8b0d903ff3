"""``ppl-vae show``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ppl_vae.cli.completion import RunPath
from ppl_vae.cli.measure import text_of
from ppl_vae.cli.options import GroupedCommand, with_options
from ppl_vae.plugins.options import options_of
from ppl_vae.runs import show as courses

__all__ = ["show"]


@click.command(cls=GroupedCommand, help=text_of(courses.show))
@click.argument("run", type=RunPath())
@with_options(options_of(courses.show, skip=("run",)))
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as one JSON document.")
def show(run: Path, as_json: bool, **options: Any) -> None:  # of the types of its options
    """Draw the course of a training in the terminal, also while it goes on."""
    course = courses.show(run, **options)
    if as_json:
        click.echo(json.dumps(course.to_json(), indent=2))
    else:
        from rich.console import Console

        Console(highlight=False).print(course)

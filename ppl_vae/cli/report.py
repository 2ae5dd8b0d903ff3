"""``ppl-vae report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppl_vae.cli.completion import RunPath
from ppl_vae.cli.measure import options_of_method, text_of
from ppl_vae.cli.opening import opens_runs
from ppl_vae.cli.options import GroupedCommand, with_options
from ppl_vae.cli.output import Printed, with_json
from ppl_vae.runs.uses import Uses

__all__ = ["report"]


@click.command(cls=GroupedCommand, help=text_of(Uses.report))
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=RunPath())
@opens_runs
@with_options(options_of_method(Uses.report))
@with_json
def report(folders: tuple[Path, ...], **options: Any) -> Printed:  # of the types of the method's options
    """Write a report of trained runs: one HTML page."""
    from ppl_vae.runs.report.report import report

    return report(*folders, **options)
